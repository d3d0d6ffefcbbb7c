// What an MP4 file holds, by its tables: no audio is decoded, and little of it is read.
//
// Guarantees: no Python object is touched, so the GIL is not needed.
#pragma once
#include <optional>
#include <string>

#include "sources/ffmpeg_library.h"
#include "sources/packet_index.h"
#include "sources/place.h"

namespace headrace {

struct Mp4Scan {
  std::string codec;
  int sample_rate, channels;
  PacketIndex index;  // with a SizeTable
};

// Read the tables of a file whose first audio track is AAC without spectral band replication, or ALAC. What is read
// of the audio: the first packet of AAC whose header leaves open whether it has such replication, and the last packet
// of ALAC. None if the tables do not prove what a decode would give. Throws DecodeError if the system cannot read.
std::optional<Mp4Scan> scan_mp4(const Place& place, const FfmpegFunctions& library, const AnchorRule& aac,
                                const AnchorRule& alac);

}  // namespace headrace
