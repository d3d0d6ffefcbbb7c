// Mp3SeekCheck: compares decoding an MP3 file from its seek points with decoding it in one go. Not on
// Windows.
//
// The index proves that the frames follow each other, not that libmpg123 can decode each of them. If the
// audio data of a frame are damaged, libmpg123 may give the frame up, fill it with zeros and leave its
// synthesis ring where it was (mp3_source.h). Decoding that begins after such a frame has another ring
// position, or another overlap. So two kinds of places are compared:
// - evenly spaced places along the whole file, which find a ring position that stays wrong;
// - every frame around the place where zeros begin, which finds a wrong overlap.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

#include "sources/libsndfile.h"
#include "sources/mp3_index.h"
#include "sources/source.h"

namespace headrace {

class Mp3SeekCheck {
 public:
  // `spec` has seek points. `library` has to outlive this.
  Mp3SeekCheck(const SourceSpec& spec, const LibsndfileFunctions& library);
  // Compare with `count` samples that were decoded in one go, the first of which is the recording's
  // `begin`. They follow those of the last call. `last` says that none follow them. Throws DecodeError if
  // the file cannot be read.
  void add(const void* pcm, int64_t begin, int64_t count, bool last);
  // Whether everything that was compared so far was equal.
  bool exact() const { return exact_; }

 private:
  void find_zeros(int64_t begin, int64_t count);
  void compare(int64_t start, int64_t count);

  const SourceSpec spec_;
  const LibsndfileFunctions& library_;
  const int64_t frame_bytes_;
  Mp3Index index_;
  int64_t samples_ = 0;         // in one MP3 frame
  std::vector<char> kept_;      // what was decoded in one go, from kept_begin_ on
  int64_t kept_begin_ = 0;
  int64_t next_ = 0;            // the next of the evenly spaced places
  bool zeros_before_ = true;    // whether the last granule was all zeros
  std::deque<int64_t> around_zeros_;  // the places around zeros that are still to be compared
  bool exact_ = true;
};

}  // namespace headrace
