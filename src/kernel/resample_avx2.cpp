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
constexpr int TILE = 6;  // 12 accumulators, 2 coefficients and 1 input, of 16 registers

#include "resample_impl.h"

}  // namespace headrace::avx2
