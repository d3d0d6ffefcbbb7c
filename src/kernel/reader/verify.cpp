#include "reader/verify.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <vector>

#include "sources/decode_error.h"
#include "sources/open_source.h"
#include "sources/watched_store.h"
#ifndef _WIN32
#include "reader/mp3_seek_check.h"
#endif

namespace headrace {
namespace {

// The size of a piece. It is fixed, so that the same file always gives the same result: how much a decoder
// drops at damage can depend on it.
constexpr int64_t MOST_FRAMES = 1 << 14, MOST_BYTES = 1 << 20;

constexpr size_t MOST_LOST = 64;  // damaged places that are told apart; the last one grows

void add_lost(int64_t first, int64_t stop, VerifyResult* result) {
  if (!result->lost.empty() && (result->lost.back().second == first || result->lost.size() == MOST_LOST))
    result->lost.back().second = stop;
  else
    result->lost.emplace_back(first, stop);
}

// Count samples that are NaN or infinite in `frames` frames that follow result->frames.
template <typename Sample>
void count_non_finite(const Sample* pcm, int64_t frames, int channels, VerifyResult* result) {
  for (int64_t i = 0; i < frames * channels; ++i) {
    if (std::isfinite(pcm[i])) continue;
    result->last_non_finite = result->frames + i / channels;
    if (!result->non_finite_samples++) result->first_non_finite = result->last_non_finite;
  }
}

VerifyResult verify_watched(const SourceSpec& spec, const LibsndfileFunctions& library,
                            const CancelFlag* cancel) {
  VerifyResult result;
  try {
    const bool flac = (spec.format.sndfile_format & CONTAINER_MASK) == FLAC_CONTAINER;
    const std::unique_ptr<Source> source = open_source(spec, library);
#ifndef _WIN32
    std::unique_ptr<Mp3SeekCheck> check;
    if (!flac && !spec.seek_points.empty() && !has_packet_index(spec))
      check = std::make_unique<Mp3SeekCheck>(spec, library);
#endif
    const int64_t frame_bytes = spec.format.bytes_per_frame();
    const int64_t room = std::max<int64_t>(1, std::min(MOST_FRAMES, MOST_BYTES / frame_bytes));
    // Doubles, so that it is aligned for every sample type.
    std::vector<double> pcm(static_cast<size_t>((room * frame_bytes + 7) / 8));
    while (result.frames < spec.frames) {
      if (cancel->load(std::memory_order_relaxed)) {
        result.cancelled = true;
        break;
      }
      const int64_t wanted = std::min(room, spec.frames - result.frames);
      const int64_t got = source->read(pcm.data(), wanted);
      if (spec.format.sample_type == SampleType::FLOAT32)
        count_non_finite(reinterpret_cast<const float*>(pcm.data()), got, spec.format.channels, &result);
      if (spec.format.sample_type == SampleType::FLOAT64)
        count_non_finite(pcm.data(), got, spec.format.channels, &result);
#ifndef _WIN32
      const bool last = got < wanted || result.frames + got == spec.frames;
      if (check) check->add(pcm.data(), result.frames, got, last);
      if (check) result.seek_points_exact = check->exact();
#endif
      result.frames += got;
      if (got == wanted) continue;
      const bool system = source->system_failed();
      const int64_t next = system ? -1 : source->resume(result.frames);
      if (next > result.frames) {
        add_lost(result.frames, next, &result);
        result.frames = next;
        continue;
      }
      result.code = system ? "IO" : "TRUNCATED";
      result.message =
          (system ? "the file cannot be read" : "the file is cut short or damaged") + source->complaint();
      break;
    }
  } catch (const DecodeError& error) {
    result.code = error.code;
    result.message = error.what();
  }
  return result;
}

}  // namespace

VerifyResult verify(const SourceSpec& spec, const LibsndfileFunctions& library,
                    const CancelFlag* cancel) {
  SourceSpec watched = spec;
  const auto store = watch(&watched.place);
  VerifyResult result = verify_watched(watched, library, cancel);
  const auto error = store ? store->error() : std::nullopt;
  if (error && !result.cancelled) {
    result.code = error->code;
    result.message = error->what();
  }
  return result;
}

}  // namespace headrace
