// Mp3Index: which bytes of an MP3 file are its recording, and where each of its frames is.
//
// Guarantees:
// - scan_mp3() walks the headers of all frames, so the number of frames is counted, not estimated.
// - An index lists the frames that are decoded, and nothing else: tags, garbage, cut frames and frames of
//   another sample rate or channel count are left out. What it lists is what mp3_source.h decodes, in order
//   and at random.
// - Whoever follows an index compares each frame with it, so a file that has changed is noticed.
//
// A "frame" here is MPEG audio's: 1,152, 576 or 384 samples of each channel. "Samples" are samples of one
// channel (PCM frames); offsets are bytes. Layers I, II and III of MPEG-1, MPEG-2 and MPEG-2.5 are read,
// with a bitrate in each header (no "free format").
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "sources/bytes.h"

namespace headrace {

// What the header and the side information of a frame say.
struct Mp3Frame {
  int layer;           // 1, 2 or 3
  int bytes;           // size of the frame
  int samples;         // in the frame: 1,152, or 384 in layer I, or 576 in layer III of MPEG-2
  int channels;
  int sample_rate;     // Hz
  int checksum_bytes;  // 2 or 0
  int side_bytes;      // size of the side information; 0 but in layer III
  int data_bytes;      // size of the audio data at the frame's end, some of which may belong to later frames
  int reservoir;       // bytes of this frame's audio data that stand in earlier frames (main_data_begin)
  int used;            // bytes of audio data that the side information asks for
  bool valid_side;     // whether libmpg123 accepts the side information
  unsigned char header[4];
};

// Bytes that read_mp3_frame reads: header, checksum and side information.
constexpr int MP3_HEAD_BYTES = 4 + 2 + 32;

// The most bytes of earlier frames' audio data that a frame may refer to (the bit reservoir).
constexpr int MP3_RESERVOIR_BYTES = 511;

// Read the MP3_HEAD_BYTES bytes at `head`. Return false if they do not begin with the header of a frame.
bool read_mp3_frame(const unsigned char* head, Mp3Frame* frame);

// Return whether two frames can belong to the same recording: equal layers, rates, lengths and channels.
bool same_stream(const Mp3Frame& a, const Mp3Frame& b);

// Where a frame does not simply follow the one before it.
struct Mp3Break {
  int64_t frame = 0;     // the frame's number
  int64_t gap = 0;       // bytes before it that are left out
  int64_t silence = -1;  // if not -1, silence_frame() turns the frame into silence, with this reservoir
};

// The seek points of a file. Frame n begins at sample `n * samples - skip` of the recording.
struct Mp3Index {
  static constexpr int64_t EVERY = 64;  // frames between two points
  int64_t file_bytes = 0;               // size of the file when it was indexed
  int64_t end = 0;                      // offset of the end of the last frame
  int64_t frames = 0;                   // number of frames; at least 1
  int64_t samples = 0;                  // in each frame; 0 in an index of an earlier version
  int64_t skip = 0;                     // samples that are dropped at the start
  bool random_access = true;            // whether decoding may begin at a point, or only at the start
  std::vector<int64_t> points;          // offsets of frames 0, EVERY, 2 EVERY, ...
  std::vector<Mp3Break> breaks;         // by frame
};

// What a scan finds in an MP3 file.
struct Mp3Scan {
  Mp3Index index;
  int layer = 0, sample_rate = 0, channels = 0;
  int64_t length = 0;    // samples of the recording
  int64_t declared = 0;  // MP3 frames that the encoder's tag declares; 0 if it declares none
  // Frames of another layer, sample rate or channel count.
  int64_t foreign_frames = 0, foreign_samples = 0;
  int64_t foreign_at = 0;  // the recording's sample where the first of them stands
  int foreign_rate = 0, foreign_channels = 0;
  // Damage inside the recording: bytes that are no MP3, and frames that silence is put for.
  int64_t damaged_bytes = 0, damaged_frames = 0;
  int64_t damaged_at = 0;  // the recording's sample where the first damage is
};

// Walk over a file. Return false if it is no MP3 file, or cannot be read.
bool scan_mp3(const Bytes& bytes, Mp3Scan* scan);

// Return whether the start of the file still agrees with its index: the first frame of audio is at the same
// offset, and as many samples are to be skipped.
bool start_matches(const Bytes& bytes, const Mp3Index& index);

// Convert an index to a few bytes, and back. unpack() returns false if the bytes are not a valid index.
std::string pack(const Mp3Index& index);
bool unpack(const char* packed, size_t size, Mp3Index* index);

// Return a frame of silence with the layer, rate and channels of `like`. Its audio data end with the bytes
// `reservoir`, which the frame after it may refer to.
std::string silent_frame(const Mp3Frame& like, const std::string& reservoir);

// Turn the frame `bytes` into silence. It keeps its size and its audio data, and refers to `reservoir` bytes
// before it, so that a later frame can refer to all of these.
void silence_frame(const Mp3Frame& frame, int64_t reservoir, unsigned char* bytes);

}  // namespace headrace
