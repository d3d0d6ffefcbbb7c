// PacketIndex: where decoding of a recording that FFmpeg reads may begin: at its anchors.
//
// A recording is cut into segments of whole packets. The first begins with the first packet. Each later one has
// an anchor: the place in the file of the packet that stands `pre_roll` packets before the segment's first one.
// A decoder that is new at that place, and whose output is thrown away up to the segment, gives the segment.
//
// Guarantees: unpack() accepts only what pack() can give.
//
// Units: `start` and `frames` are PCM frames; `offset` is bytes; `time` is in the time base of the track.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace headrace {

// How a packet is recognised after a seek.
struct PacketPlace {
  int64_t offset = 0;   // of the packet, or of the page or block that it stands in
  int64_t ordinal = 0;  // how many packets of the track with the same offset stand before it
  int64_t time = 0;     // its time stamp, or NO_TIME
  uint16_t check = 0;   // a hash of its bytes

  static constexpr int64_t NO_TIME = INT64_MIN;
};

struct Anchor {
  int64_t start = 0;    // the first frame of the segment
  int64_t packets = 0;  // packets of the segment before this one
  PacketPlace place;    // of the first packet of the pre-roll
};

struct PacketIndex {
  static constexpr char TAG = 'F';  // the first byte of the packed form

  int64_t decoder_major = 0;  // libavcodec's major version
  int64_t pre_roll = 1;       // packets that a decoder is fed, and whose output is thrown away
  bool forgets = false;       // whether a decoder after its pre-roll gives what one decode in one go gives
  int64_t frames = 0;         // of the recording
  std::vector<Anchor> anchors;
};

// Hash the bytes of a packet.
uint16_t packet_check(const unsigned char* data, int64_t size);

std::string pack(const PacketIndex& index);
bool unpack(const char* packed, size_t size, PacketIndex* index);

}  // namespace headrace
