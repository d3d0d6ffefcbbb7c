// resample() for any machine. fmaf is exact by the C standard: an instruction where the baseline has one
// (NEON on aarch64), otherwise a call of the C library.
#include <math.h>

#include "arithmetic/resample.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace headrace::portable {

#if defined(__aarch64__)
struct Vec {
  static constexpr int WIDTH = 4;
  float32x4_t v;
  static Vec zero() { return {vdupq_n_f32(0.0f)}; }
  static Vec load(const float* p) { return {vld1q_f32(p)}; }
  static Vec splat(const float* p) { return {vdupq_n_f32(*p)}; }
  static Vec add(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
  static Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
  void store(float* p) const { vst1q_f32(p, v); }
};
using Half = Vec;
constexpr int TILE = 6;    // 24 accumulators, 4 coefficients and 1 input, of 32 registers
constexpr int DENSE = 12;  // 24 accumulators, 2 coefficients and 1 input

static inline void split(const float* p, int64_t n, float* out, int64_t stride) {
  for (int64_t i = 0; i < n; i += 4) {
    const float32x4x4_t fours = vld4q_f32(p + 4 * i);
    for (int r = 0; r < 4; ++r) vst1q_f32(out + r * stride + i, fours.val[r]);
  }
}

static inline void interleave(Vec a, Vec b, float* p) {
  const float32x4x2_t both = {{a.v, b.v}};
  vst2q_f32(p, both);
}
#else
struct Vec {
  static constexpr int WIDTH = 1;
  float v;
  static Vec zero() { return {0.0f}; }
  static Vec load(const float* p) { return {*p}; }
  static Vec splat(const float* p) { return {*p}; }
  static Vec add(Vec a, Vec b) { return {a.v + b.v}; }
  static Vec fma(Vec a, Vec b, Vec c) { return {fmaf(a.v, b.v, c.v)}; }
  void store(float* p) const { *p = v; }
};
using Half = Vec;
constexpr int TILE = 4;
constexpr int DENSE = 8;

static inline void split(const float* p, int64_t n, float* out, int64_t stride) {
  for (int64_t i = 0; i < n; ++i)
    for (int r = 0; r < 4; ++r) out[r * stride + i] = p[4 * i + r];
}

static inline void interleave(Vec a, Vec b, float* p) {
  p[0] = a.v;
  p[1] = b.v;
}
#endif

#include "arithmetic/resample_impl.h"

}  // namespace headrace::portable
