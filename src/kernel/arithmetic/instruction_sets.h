// Which of the compiled instruction sets this machine can run, found once, at run time.
#pragma once
#include <string>
#include <vector>

#include "arithmetic/resample.h"

namespace headrace {

struct InstructionSet {
  std::string name;  // "avx512", "avx2" or "portable"
  ResampleFn resample;
};

// Those that this machine can run, best first; "portable" is always the last.
const std::vector<InstructionSet>& instruction_sets();

// The one of this name, or the best for "". Throws std::invalid_argument if this machine cannot run it.
const InstructionSet& find_instruction_set(const std::string& name);

}  // namespace headrace
