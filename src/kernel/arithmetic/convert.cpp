#include <float.h>
#include <math.h>
#include <string.h>

#include <type_traits>

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define HEADRACE_SSE2
#endif

#include "arithmetic/convert.h"

namespace headrace {
namespace {

template <typename Sample>
inline float to_float(Sample s) {
  if constexpr (std::is_same_v<Sample, int16_t>) return static_cast<float>(s) * 0x1p-15f;
  else if constexpr (std::is_same_v<Sample, int32_t>) return static_cast<float>(s) * 0x1p-31f;
  else return static_cast<float>(s);
}

}  // namespace

template <typename Sample>
bool convert(const Sample* pcm, int64_t frames, int channels, int channel, float* out) {
  if (channels == 1) {  // a loop of its own: only adjacent samples can be loaded as a vector
    for (int64_t i = 0; i < frames; ++i) out[i] = to_float(pcm[i]);
  } else if (channel != MIX) {
    const Sample* p = pcm + channel;
    for (int64_t i = 0; i < frames; ++i) out[i] = to_float(p[i * channels]);
  } else if (channels == 2) {
    for (int64_t i = 0; i < frames; ++i)
      out[i] = (to_float(pcm[2 * i]) + to_float(pcm[2 * i + 1])) / 2.0f;
  } else {
    const float count = static_cast<float>(channels);
    for (int64_t i = 0; i < frames; ++i) {
      const Sample* p = pcm + i * channels;
      float sum = to_float(p[0]);
      for (int c = 1; c < channels; ++c) sum += to_float(p[c]);
      out[i] = sum / count;
    }
  }
  if constexpr (std::is_integral_v<Sample>) return true;
  int bad = 0;  // no early exit, so that the loop can be vectorised
  for (int64_t i = 0; i < frames; ++i) bad |= !(fabsf(out[i]) <= FLT_MAX);
  return !bad;
}

void copy_past_caches(const float* from, int64_t count, float* to) {
#ifdef HEADRACE_SSE2
  int64_t i = 0;
  for (; i < count && reinterpret_cast<uintptr_t>(to + i) % 16; ++i) to[i] = from[i];
  for (; i + 4 <= count; i += 4) _mm_stream_ps(to + i, _mm_loadu_ps(from + i));
  for (; i < count; ++i) to[i] = from[i];
  _mm_sfence();
#else
  memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
#endif
}

void convert_past_caches(const int16_t* pcm, int64_t count, float* to) {
  int64_t i = 0;
#ifdef HEADRACE_SSE2
  const __m128 scale = _mm_set1_ps(0x1p-15f);
  for (; i < count && reinterpret_cast<uintptr_t>(to + i) % 16; ++i) to[i] = to_float(pcm[i]);
  for (; i + 8 <= count; i += 8) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pcm + i));
    // Each sample into the upper half of 32 bits, and from there with its sign into all of them.
    const __m128i low = _mm_srai_epi32(_mm_unpacklo_epi16(eight, eight), 16);
    const __m128i high = _mm_srai_epi32(_mm_unpackhi_epi16(eight, eight), 16);
    _mm_stream_ps(to + i, _mm_mul_ps(_mm_cvtepi32_ps(low), scale));
    _mm_stream_ps(to + i + 4, _mm_mul_ps(_mm_cvtepi32_ps(high), scale));
  }
  _mm_sfence();
#endif
  for (; i < count; ++i) to[i] = to_float(pcm[i]);
}

template bool convert(const int16_t*, int64_t, int, int, float*);
template bool convert(const int32_t*, int64_t, int, int, float*);
template bool convert(const float*, int64_t, int, int, float*);
template bool convert(const double*, int64_t, int, int, float*);

}  // namespace headrace
