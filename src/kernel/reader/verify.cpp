#include "reader/verify.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#ifndef _WIN32
#include "reader/mp3_seek_check.h"
#endif

namespace headrace {
namespace {

// Always the same pieces, so that the same file always gives the same answer: what a decoder gives up
// for damage can depend on them.
constexpr int64_t MOST_FRAMES = 1 << 14, MOST_BYTES = 1 << 20;

template <typename Sample>
void look(const Sample* pcm, int64_t frames, int channels, Verified* to) {
  for (int64_t i = 0; i < frames * channels; ++i) {
    if (std::isfinite(pcm[i])) continue;
    to->last_bad = to->frames + i / channels;
    if (!to->non_finite++) to->first_bad = to->last_bad;
  }
}

}  // namespace

Verified verify(const Facts& facts, const Sndfile& library, const volatile unsigned char* cancel) {
  Verified result;
  try {
    Facts plain = facts;
    plain.seek_points.clear();  // in one go, as law 1 says
    const std::unique_ptr<Source> source = open_source(plain, library);
#ifndef _WIN32
    std::unique_ptr<Mp3Check> check;
    if (!facts.seek_points.empty()) check = std::make_unique<Mp3Check>(facts, library);
#endif
    const int64_t frame_bytes = static_cast<int64_t>(sample_bytes(facts.type)) * facts.channels;
    const int64_t room = std::max<int64_t>(1, std::min(MOST_FRAMES, MOST_BYTES / frame_bytes));
    // Of doubles, so that it is aligned for every type of sample.
    std::vector<double> pcm(static_cast<size_t>((room * frame_bytes + 7) / 8));
    while (result.frames < facts.frames) {
      if (*cancel) {
        result.cancelled = true;
        break;
      }
      const int64_t wanted = std::min(room, facts.frames - result.frames);
      const int64_t got = source->read(pcm.data(), wanted);
      if (facts.type == SampleType::FLOAT32)
        look(reinterpret_cast<const float*>(pcm.data()), got, facts.channels, &result);
      if (facts.type == SampleType::FLOAT64) look(pcm.data(), got, facts.channels, &result);
#ifndef _WIN32
      const bool last = got < wanted || result.frames + got == facts.frames;
      if (check) check->look(pcm.data(), result.frames, got, last);
      if (check) result.seeks = check->exact();
#endif
      result.frames += got;
      if (got == wanted) continue;
      const bool system = source->system_failed();
      result.code = system ? "IO" : "TRUNCATED";
      result.message =
          (system ? "the file cannot be read" : "the file is cut short or damaged") + source->complaint();
      break;
    }
  } catch (const Fault& fault) {
    result.code = fault.code;
    result.message = fault.what();
  }
  return result;
}

}  // namespace headrace
