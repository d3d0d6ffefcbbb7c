// Mp3Check: whether what an MP3's seek points give is what decoding it in one go gives.
//
// The index proves that the frames follow each other, not that libmpg123 can decode each. One that it
// gives up, because bits of its audio data are damaged, it fills up with zeros and leaves its synthesis
// ring as it was; whoever begins behind it has the ring, or the overlap, otherwise. So some windows are
// compared all along the file, which sees a ring that stays turned, and every frame's where zeros begin.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

#include "sources/mp3_index.h"
#include "sources/source.h"

namespace headrace {

class Mp3Check {
 public:
  // `facts` has seek points.
  Mp3Check(const Facts& facts, const Sndfile& library);
  // Compare with `count` frames that were decoded in one go, the first of which is the recording's
  // `begin`. They follow those of the last call; with `last`, none follow.
  void look(const void* pcm, int64_t begin, int64_t count, bool last);
  bool exact() const { return exact_; }

 private:
  void find_zeros(int64_t begin, int64_t count);
  void compare(int64_t start, int64_t count);

  const Facts facts_;
  const Sndfile& library_;
  const int64_t frame_bytes_;
  Mp3Index index_;
  int64_t samples_ = 0;             // of one of the MP3's frames
  std::vector<char> kept_;          // what was decoded in one go, from kept_begin_ on
  int64_t kept_begin_ = 0;
  int64_t next_ = 0;                // where something is compared next in any case
  bool silent_ = true;              // whether the last granule was zeros
  std::deque<int64_t> wanted_;      // where else something is to be compared
  bool exact_ = true;
};

}  // namespace headrace
