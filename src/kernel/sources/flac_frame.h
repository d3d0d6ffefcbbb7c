// FlacFrame: one frame of a FLAC file, as the format (RFC 9639) has it, checked in every field.
#pragma once
#include <cstdint>

namespace headrace {

// What STREAMINFO says of all frames, and the first frame of how they are numbered.
struct FlacStream {
  int channels;
  int bits;  // of a sample: 8, 16 or 24
  int sample_rate;
  int block;      // the most samples of a channel in a frame; exactly so many where `fixed`
  bool fixed;     // whether frames are numbered, and all but the last are of one length
  int64_t frames;  // samples of a channel in the file
};

struct FlacHeader {
  int64_t first;  // the number of the frame's first sample
  int count;      // samples of a channel
  int assignment;  // of the channels: 0 to 7 independent, 8 left/side, 9 side/right, 10 mid/side
  int bytes;      // of the header
};

// The most bytes of a frame's header.
constexpr int64_t FLAC_HEADER_BYTES = 16;

// Return whether the `count` bytes from `p` on begin with the header of a frame of this stream.
bool parse_flac_header(const unsigned char* p, int64_t count, const FlacStream& stream,
                       FlacHeader* header);

// Decode the frame that the `count` bytes from `p` on begin with (BITS_PADDING more are readable)
// into `planes`, `stream.block` samples for each channel. Return its bytes; 0 if it is not a frame of
// this stream, whole, undamaged, and with samples that fit its bits.
int64_t decode_flac_frame(const unsigned char* p, int64_t count, const FlacStream& stream,
                          FlacHeader* header, int32_t* planes);

}  // namespace headrace
