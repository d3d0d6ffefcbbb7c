// A WAV file of plain samples, read by the kernel itself. Not on Windows.
#pragma once
#include <memory>

#include "sources/source.h"

namespace headrace {

// Open a WAV file. Return null if it is not a plain WAV file of the format that `spec` says, or holds fewer frames: then
// libsndfile has to decide what it is. Throws DecodeError if it cannot be opened.
std::unique_ptr<Source> open_wav(const SourceSpec& spec);

}  // namespace headrace
