// Recordings of Vorbis and Opus in Ogg that FFmpeg decodes: their packets are found by the kernel (ogg_feed.h).
//
// Guarantees: no Python object is touched, so the GIL is not needed. FFmpeg opens no file.
#pragma once
#include <memory>

#include "sources/source.h"

namespace headrace {

// Open a recording that has an OggIndex in its `seek_points`. Throws DecodeError.
std::unique_ptr<Source> open_ogg(const SourceSpec& spec);

}  // namespace headrace
