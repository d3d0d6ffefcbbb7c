// resample() with AVX-512 (F, VL, DQ, BW).
#include <immintrin.h>

#include "arithmetic/resample.h"

namespace headrace::avx512 {

struct Half {
  static constexpr int WIDTH = 8;
  __m256 v;
  static Half zero() { return {_mm256_setzero_ps()}; }
  static Half load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Half splat(const float* p) { return {_mm256_broadcast_ss(p)}; }
  static Half add(Half a, Half b) { return {_mm256_add_ps(a.v, b.v)}; }
  static Half fma(Half a, Half b, Half c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
};

struct Vec {
  static constexpr int WIDTH = 16;
  __m512 v;
  static Vec zero() { return {_mm512_setzero_ps()}; }
  static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vec splat(const float* p) { return {_mm512_set1_ps(*p)}; }
  static Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
  static Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  Half low() const { return {_mm512_castps512_ps256(v)}; }
  Half high() const { return {_mm512_extractf32x8_ps(v, 1)}; }
  static Vec join(Half low, Half high) {
    return {_mm512_insertf32x8(_mm512_castps256_ps512(low.v), high.v, 1)};
  }
};
constexpr int TILE = 12;  // of 32 registers; more blocks would have no address registers
constexpr int DENSE = 8;  // 16 accumulators, 2 coefficients and 1 input

static inline void split(const float* p, int64_t n, float* out, int64_t stride) {
  const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odds = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 a = _mm512_loadu_ps(p + 4 * i), b = _mm512_loadu_ps(p + 4 * i + 16);
    const __m512 c = _mm512_loadu_ps(p + 4 * i + 32), d = _mm512_loadu_ps(p + 4 * i + 48);
    const __m512 even_ab = _mm512_permutex2var_ps(a, evens, b);
    const __m512 even_cd = _mm512_permutex2var_ps(c, evens, d);
    const __m512 odd_ab = _mm512_permutex2var_ps(a, odds, b);
    const __m512 odd_cd = _mm512_permutex2var_ps(c, odds, d);
    _mm512_storeu_ps(out + i, _mm512_permutex2var_ps(even_ab, evens, even_cd));
    _mm512_storeu_ps(out + stride + i, _mm512_permutex2var_ps(odd_ab, evens, odd_cd));
    _mm512_storeu_ps(out + 2 * stride + i, _mm512_permutex2var_ps(even_ab, odds, even_cd));
    _mm512_storeu_ps(out + 3 * stride + i, _mm512_permutex2var_ps(odd_ab, odds, odd_cd));
  }
}

static inline void interleave(Vec a, Vec b, float* p) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  _mm512_storeu_ps(p, _mm512_permutex2var_ps(a.v, low, b.v));
  _mm512_storeu_ps(p + 16, _mm512_permutex2var_ps(a.v, high, b.v));
}

#include "arithmetic/resample_impl.h"

}  // namespace headrace::avx512
