// Decoding a whole recording to see what it holds: nothing is kept but counts.
#pragma once
#include <cstdint>
#include <string>

#include "sources/source.h"

namespace headrace {

struct Verified {
  int64_t frames = 0;      // that decode one after the other, from the start, without complaint
  int64_t non_finite = 0;  // samples among them that are NaN or infinite
  int64_t first_bad = 0, last_bad = 0;  // the frames of the first and the last of those
  std::string code, message;  // why decoding stopped before facts.frames, or nothing
  bool seeks = true;  // whether what its seek points give was the same, wherever that was compared
  bool cancelled = false;
};

// Decode up to `facts.frames` frames; the cancel flag is looked at between pieces.
Verified verify(const Facts& facts, const Sndfile& library, const volatile unsigned char* cancel);

}  // namespace headrace
