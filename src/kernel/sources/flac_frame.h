// One frame of a FLAC file (RFC 9639): its header and its samples.
//
// Guarantees: every field and both checksums are checked. Nothing outside of the given bytes and their
// padding is read.
//
// A "frame" here is FLAC's: a block of samples of all channels. Counts of samples are of one channel.
#pragma once
#include <cstdint>

namespace headrace {

// What STREAMINFO says of all frames, and what the first frame says of their numbering.
struct FlacStream {
  int channels;
  int bits;         // per sample: 8, 16 or 24
  int sample_rate;  // Hz
  int block;        // the most samples in a frame
  bool fixed;       // whether frames are numbered, and all but the last have exactly `block` samples
  int64_t stop;     // the number after the last sample's, or FLAC_UNKNOWN
};

// More samples than a header can declare. A frame of any number may be the last one then.
constexpr int64_t FLAC_UNKNOWN = int64_t{1} << 40;

struct FlacHeader {
  int64_t first;   // the number of the frame's first sample
  int count;       // samples
  int assignment;  // channels: 0 to 7 independent, 8 left/side, 9 side/right, 10 mid/side
  int bytes;       // size of the header
};

// The largest header, in bytes.
constexpr int64_t FLAC_HEADER_BYTES = 16;

// Return whether the `count` bytes at `p` begin with the header of a frame of this stream.
bool parse_flac_header(const unsigned char* p, int64_t count, const FlacStream& stream,
                       FlacHeader* header);

// Decode the frame at `p`. `count` bytes are there, and BITS_PADDING (flac_bits.h) more are readable.
// `planes` receives the channels one after the other, `stream.block` samples apart. Return the bytes of the
// frame, or 0 if it is not a complete, undamaged frame of this stream whose samples fit its bits.
int64_t decode_flac_frame(const unsigned char* p, int64_t count, const FlacStream& stream,
                          FlacHeader* header, int32_t* planes);

}  // namespace headrace
