// resample() with AVX2 and FMA.
#include <immintrin.h>

#include "arithmetic/resample.h"

namespace headrace::avx2 {

struct Vec {
  static constexpr int WIDTH = 8;
  __m256 v;
  static Vec zero() { return {_mm256_setzero_ps()}; }
  static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Vec splat(const float* p) { return {_mm256_broadcast_ss(p)}; }
  static Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
  static Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
};
using Half = Vec;
constexpr int TILE = 6;   // 12 accumulators, 2 coefficients and 1 input, of 16 registers
constexpr int DENSE = 6;  // 12 accumulators, 2 coefficients and 1 input

static inline void split(const float* p, int64_t n, float* out, int64_t stride) {
  for (int64_t i = 0; i < n; i += 8) {
    // Fours i and i + 4, i + 1 and i + 5, ...; then each half of the registers is transposed.
    const auto fours = [&](int64_t k) {
      const __m256 low = _mm256_castps128_ps256(_mm_loadu_ps(p + 4 * (i + k)));
      return _mm256_insertf128_ps(low, _mm_loadu_ps(p + 4 * (i + k + 4)), 1);
    };
    const __m256 a = fours(0), b = fours(1), c = fours(2), d = fours(3);
    const __m256 ab = _mm256_unpacklo_ps(a, b), cd = _mm256_unpacklo_ps(c, d);
    const __m256 ab_high = _mm256_unpackhi_ps(a, b), cd_high = _mm256_unpackhi_ps(c, d);
    _mm256_storeu_ps(out + i, _mm256_shuffle_ps(ab, cd, 0x44));
    _mm256_storeu_ps(out + stride + i, _mm256_shuffle_ps(ab, cd, 0xee));
    _mm256_storeu_ps(out + 2 * stride + i, _mm256_shuffle_ps(ab_high, cd_high, 0x44));
    _mm256_storeu_ps(out + 3 * stride + i, _mm256_shuffle_ps(ab_high, cd_high, 0xee));
  }
}

static inline void interleave(Vec a, Vec b, float* p) {
  const __m256 low = _mm256_unpacklo_ps(a.v, b.v), high = _mm256_unpackhi_ps(a.v, b.v);
  _mm256_storeu_ps(p, _mm256_permute2f128_ps(low, high, 0x20));
  _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(low, high, 0x31));
}

#include "arithmetic/resample_impl.h"

}  // namespace headrace::avx2
