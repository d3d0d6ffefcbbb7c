// Decodes a whole recording to find out what it holds. Keeps nothing but counts.
//
// Units: positions are PCM frames, counted from the start of the recording.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "reader/cancel_flag.h"
#include "sources/libsndfile.h"
#include "sources/source.h"

namespace headrace {

struct VerifyResult {
  int64_t frames = 0;              // up to which decoding got
  std::vector<std::pair<int64_t, int64_t>> lost;  // frames before that which cannot be decoded: [first, stop)
  int64_t non_finite_samples = 0;  // how many samples of those frames are NaN or infinite
  int64_t first_non_finite = 0, last_non_finite = 0;  // the first and the last frame with such a sample
  std::string code, message;      // as in DecodeError: why decoding stopped before spec.frames, if it did
  bool seek_points_exact = true;  // whether decoding from the seek points gave the same, where compared
  bool cancelled = false;         // then the rest is incomplete
};

// Decode up to spec.frames frames. The cancellation flag is checked between pieces.
VerifyResult verify(const SourceSpec& spec, const LibsndfileFunctions& library,
                    const CancelFlag* cancel);

}  // namespace headrace
