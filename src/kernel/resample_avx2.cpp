#include <immintrin.h>

#include "kernel.h"

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
constexpr int TILE = 6;    // 12 accumulators, 2 coefficients and 1 input, of 16 registers
constexpr int DENSE = 12;  // 12 accumulators, 1 coefficient and 1 input

static inline void split(const float* p, int64_t n, float* even, float* odd) {
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 a = _mm256_loadu_ps(p + 2 * i), b = _mm256_loadu_ps(p + 2 * i + 8);
    const __m256 e = _mm256_shuffle_ps(a, b, 0x88), o = _mm256_shuffle_ps(a, b, 0xdd);
    _mm256_storeu_ps(even + i, _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(e), 0xd8)));
    _mm256_storeu_ps(odd + i, _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(o), 0xd8)));
  }
}

#include "resample_impl.h"

}  // namespace headrace::avx2
