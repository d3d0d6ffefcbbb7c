// A FLAC file, decoded by the kernel itself as far as it is undamaged, and by libsndfile from there on. Not
// on Windows.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "sources/libsndfile.h"
#include "sources/source.h"

namespace headrace {

// Where another FLAC stream begins in a file, as a catalog keeps it in its seek points; 0 is none.
std::string pack_flac_end(int64_t end);
int64_t unpack_flac_end(const std::string& packed);

// Open a FLAC file. Return null if its header is not understood or contradicts `spec`: then libsndfile has to
// decide what it is. Throws DecodeError if it cannot be opened. `library` has to outlive the Source.
std::unique_ptr<Source> open_flac(const SourceSpec& spec, const LibsndfileFunctions& library);

}  // namespace headrace
