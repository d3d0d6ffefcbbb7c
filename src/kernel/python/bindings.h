// What the files that make the Python module share.
#pragma once
#include <nanobind/nanobind.h>

#include <string>

#include "arithmetic/resample.h"

namespace headrace {

// The resampling of an instruction set by name, of the best one for "". Throws std::invalid_argument
// where this machine has no such set.
ResampleFn find_instruction_set(const std::string& name);

void bind_reader(nanobind::module_& m);

}  // namespace headrace
