// A FLAC file, decoded by the kernel itself as far as it is undamaged, and by libsndfile from there on. Not
// on Windows.
#pragma once
#include <memory>

#include "sources/libsndfile.h"
#include "sources/source.h"

namespace headrace {

// Open a FLAC file. Return null if its header is not understood or contradicts `spec`: then libsndfile has to
// decide what it is. Throws DecodeError if it cannot be opened. `library` has to outlive the Source.
std::unique_ptr<Source> open_flac(const SourceSpec& spec, const LibsndfileFunctions& library);

}  // namespace headrace
