// An MP3 file's chain of frames, read strictly: where its frames are, and how decoding can begin among
// them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "sources/wav_layout.h"

namespace headrace {

// One frame of layer III, as its header and its side information say.
struct Mp3Frame {
  int bytes;      // all of it
  int samples;    // 1,152, or 576 at the low sample rates
  int channels;
  int sample_rate;
  int main;       // bytes of audio data that it carries, at its end
  int reservoir;  // bytes of its own audio data that stand in the frames before it
  int side;       // bytes of side information
  unsigned char header[4];
};

// Samples of a frame at this sample rate: two transforms of 576 at high ones, one at low ones.
inline int64_t mp3_samples(int sample_rate) { return sample_rate < 32000 ? 576 : 1152; }

// What has to be readable at a frame for read_mp3_frame: header, checksum and side information.
constexpr int MP3_HEAD = 4 + 2 + 32;

// The audio data that a decoder remembers of earlier frames, at most.
constexpr int MP3_RESERVOIR = 511;

// Read what stands at `head`, MP3_HEAD bytes; false if it is no frame that can be counted on.
bool read_mp3_frame(const unsigned char* head, Mp3Frame* frame);

// Whether two frames can follow each other in one recording.
bool same_stream(const Mp3Frame& a, const Mp3Frame& b);

// Where a file's frames are. Frame n begins `samples * n - skip` samples into the recording.
struct Mp3Index {
  static constexpr int64_t EVERY = 64;  // frames between two points
  int64_t file_bytes = 0;               // of the file that this was made of
  int64_t end = 0;                      // the offset behind the last whole frame
  int64_t frames = 0;                   // whole frames of audio
  int64_t skip = 0;                     // samples that libmpg123 cuts off at the start
  std::vector<int64_t> points;          // offsets of frames 0, EVERY, 2 EVERY, ...
};

// Return whether `bytes` are at least EVERY frames in one unbroken chain, in which decoding may
// begin anywhere, and of which libsndfile declares `declared` samples; and if so where they are.
bool index_mp3(const Bytes& bytes, int64_t declared, Mp3Index* index);

// Whether what stands before the audio is still what the index was made with: of at least `frames`
// samples, of which as many are cut off.
bool begins_as(const Bytes& bytes, const Mp3Index& index, int64_t frames);

// An index as few bytes, and back; false if they are none.
std::string pack(const Mp3Index& index);
bool unpack(const char* packed, size_t size, Mp3Index* index);

// A frame of silence like `like` whose audio data end with `reservoir`, for the frame that follows it.
std::string silent_frame(const Mp3Frame& like, const std::string& reservoir);

}  // namespace headrace
