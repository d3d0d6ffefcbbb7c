// Files that libsndfile reads and whose header declares other samples than they hold: AU, CAF, AIFF, and WAV with
// samples that the kernel does not read itself. libsndfile is shown the file with the right sizes in its header.
#pragma once
#include <memory>

#include "sources/bytes.h"
#include "sources/libsndfile.h"
#include "sources/source.h"

namespace headrace {

// Open a recording with libsndfile. Return null if its header needs no repair, or is not understood. Throws
// DecodeError as open_with_libsndfile does.
std::unique_ptr<Source> open_repaired(const SourceSpec& spec, const LibsndfileFunctions& library);

// Set `info` to what libsndfile says of a file with its header repaired. Return false if it needs no repair, or is
// not understood.
bool probe_repaired(const Bytes& bytes, const LibsndfileFunctions& library,
                    LibsndfileFunctions::Info* info);

}  // namespace headrace
