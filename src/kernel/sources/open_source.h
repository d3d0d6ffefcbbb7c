// Which decoder opens a recording. This is decided here and nowhere else.
#pragma once
#include <memory>

#include "sources/libsndfile.h"
#include "sources/source.h"

namespace headrace {

// Open a recording:
// - with FFmpeg, if it has a PacketIndex or an OggIndex and its format has FFmpeg's functions;
// - with its format's opener, if it has one;
// - with the kernel's own reader, if it is a plain WAV or a FLAC file, exactly as the catalog says;
// - from its seek points, if it is an MP3 file that has some;
// - with libsndfile and a repaired header, if the header declares fewer samples than there are;
// - else with libsndfile.
//
// Where a store has an error, that is what is reported, and not what a decoder makes of it.
//
// Throws DecodeError if it cannot be opened, or is not what was scanned. `library` has to outlive the Source.
std::unique_ptr<Source> open_source(const SourceSpec& spec, const LibsndfileFunctions& library);

}  // namespace headrace
