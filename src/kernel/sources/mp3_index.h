// Mp3Index: where the frames of an MP3 file are, so that decoding can begin at any of them.
//
// Guarantees: parsing is strict. A file has an index only if its frames follow each other without a gap, and
// all of them are such that libmpg123 decodes them (see mp3_source.h for what is known of that decoder).
//
// A "frame" here is MP3's: 1,152 or 576 samples of each channel. "Samples" are samples of one channel (PCM
// frames); offsets are bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "sources/bytes.h"

namespace headrace {

// What the header and the side information of a frame say. Layer III only.
struct Mp3Frame {
  int bytes;        // size of the frame
  int samples;      // 1,152, or 576 at the low sample rates
  int channels;
  int sample_rate;  // Hz
  int data_bytes;   // size of the audio data at the frame's end, some of which may belong to later frames
  int reservoir;    // bytes of this frame's audio data that stand in earlier frames (main_data_begin)
  int side_bytes;   // size of the side information
  unsigned char header[4];
};

// Samples in a frame at this sample rate: two granules of 576 at 32 kHz and above, one below.
inline int64_t mp3_frame_samples(int sample_rate) { return sample_rate < 32000 ? 576 : 1152; }

// Bytes that read_mp3_frame reads: header, checksum and side information.
constexpr int MP3_HEAD_BYTES = 4 + 2 + 32;

// The most bytes of earlier frames' audio data that a frame may refer to (the bit reservoir).
constexpr int MP3_RESERVOIR_BYTES = 511;

// Read the MP3_HEAD_BYTES bytes at `head`. Return false if they do not begin a frame that libmpg123 decodes.
bool read_mp3_frame(const unsigned char* head, Mp3Frame* frame);

// Return whether two frames can belong to the same recording: equal rates, lengths and channels.
bool same_stream(const Mp3Frame& a, const Mp3Frame& b);

// The seek points of a file. Frame n begins at sample `n * samples - skip` of the recording.
struct Mp3Index {
  static constexpr int64_t EVERY = 64;  // frames between two points
  int64_t file_bytes = 0;               // size of the file when it was indexed
  int64_t end = 0;                      // offset of the end of the last complete frame
  int64_t frames = 0;                   // complete frames of audio
  int64_t skip = 0;                     // samples that libmpg123 drops at the start
  std::vector<int64_t> points;          // offsets of frames 0, EVERY, 2 EVERY, ...
};

// Index a file of which libsndfile declares `declared` samples. Return false if it is not at least EVERY
// frames that follow each other without a gap, or if decoding could not begin at each of them.
bool index_mp3(const Bytes& bytes, int64_t declared, Mp3Index* index);

// Return whether the start of the file still agrees with its index: the first frame of audio is at the same
// offset, and the encoder's tag still says to skip as many samples and declares at least `frames` samples.
bool start_matches(const Bytes& bytes, const Mp3Index& index, int64_t frames);

// Convert an index to a few bytes, and back. unpack() returns false if the bytes are not a valid index.
std::string pack(const Mp3Index& index);
bool unpack(const char* packed, size_t size, Mp3Index* index);

// Return a frame of silence with the rate and channels of `like`. Its audio data end with the bytes
// `reservoir`, which the frame after it may refer to.
std::string silent_frame(const Mp3Frame& like, const std::string& reservoir);

}  // namespace headrace
