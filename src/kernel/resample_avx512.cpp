#include <immintrin.h>

#include "kernel.h"

namespace headrace::avx512 {

struct Vec {
  static constexpr int WIDTH = 16;
  __m512 v;
  static Vec zero() { return {_mm512_setzero_ps()}; }
  static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vec splat(const float* p) { return {_mm512_set1_ps(*p)}; }
  static Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
  static Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
};
constexpr int TILE = 12;  // of 32 registers

#include "resample_impl.h"

}  // namespace headrace::avx512
