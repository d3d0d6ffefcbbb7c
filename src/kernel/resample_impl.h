// The body of resample(), compiled once per instruction set.
//
// The including file is in the namespace of its set and has defined
//   Vec         WIDTH floats, with load(p), splat(p), zero(), store(p), add(a, b), and
//               fma(a, b, c) = a*b + c rounded once,
//   TILE        how many blocks share one pass over the coefficients (accumulators in registers).
//
// Each output is one chain of fused multiply-adds in the order of its inputs, starting from +0, so
// the result does not depend on WIDTH or TILE. +0 is added at the end: otherwise a sum that
// underflows to -0 would keep or lose its sign by the signs of inputs that its filter does not reach.
//
// No library code may be used here: an inline function compiled for this set could be chosen by the
// linker for a machine that lacks it.

constexpr int VECTORS = LANES / Vec::WIDTH;

template <int BLOCKS>
static inline void tile(const float* c, int64_t span, const float* x, int64_t x_stride,
                        float* out, int64_t out_stride) {
  Vec sum[BLOCKS][VECTORS];
  for (int b = 0; b < BLOCKS; ++b)
    for (int v = 0; v < VECTORS; ++v) sum[b][v] = Vec::zero();
  for (int64_t i = 0; i < span; ++i, c += LANES) {
    Vec k[VECTORS];
    for (int v = 0; v < VECTORS; ++v) k[v] = Vec::load(c + v * Vec::WIDTH);
    for (int b = 0; b < BLOCKS; ++b) {
      const Vec input = Vec::splat(x + b * x_stride + i);
      for (int v = 0; v < VECTORS; ++v) sum[b][v] = Vec::fma(input, k[v], sum[b][v]);
    }
  }
  for (int b = 0; b < BLOCKS; ++b)
    for (int v = 0; v < VECTORS; ++v)
      Vec::add(sum[b][v], Vec::zero()).store(out + b * out_stride + v * Vec::WIDTH);
}

static inline int64_t ceil_div(int64_t a, int64_t b) {  // b > 0
  return a >= 0 ? (a + b - 1) / b : -(-a / b);
}

void resample(const Bank& bank, const float* x, int64_t x_start, float* y, int64_t y_start,
              int64_t y_stop) {
  for (int64_t g = 0; g < bank.groups; ++g) {
    const float* c = bank.coefficients + g * bank.span * LANES;
    const int64_t lane0 = g * LANES;
    // Blocks in which this group has at least one output in the range, and those wholly in it.
    const int64_t begin = ceil_div(y_start - lane0 - (LANES - 1), bank.block_out);
    const int64_t end = ceil_div(y_stop - lane0, bank.block_out);
    const int64_t whole_begin = ceil_div(y_start - lane0, bank.block_out);
    const int64_t whole_end = ceil_div(y_stop - lane0 - (LANES - 1), bank.block_out);

    int64_t b = begin;
    while (b < end) {
      const float* in = x + (b * bank.block_in + bank.first[g] - x_start);
      const int64_t m = b * bank.block_out + lane0;
      if (b < whole_begin || b >= whole_end) {
        float lanes[LANES];
        tile<1>(c, bank.span, in, 0, lanes, 0);
        for (int lane = 0; lane < LANES; ++lane)
          if (m + lane >= y_start && m + lane < y_stop) y[m + lane - y_start] = lanes[lane];
        b += 1;
        continue;
      }
      float* out = y + (m - y_start);
      const int64_t left = whole_end - b;
      if (left >= TILE) {
        tile<TILE>(c, bank.span, in, bank.block_in, out, bank.block_out);
        b += TILE;
      } else if (left >= 4) {
        tile<4>(c, bank.span, in, bank.block_in, out, bank.block_out);
        b += 4;
      } else if (left >= 2) {
        tile<2>(c, bank.span, in, bank.block_in, out, bank.block_out);
        b += 2;
      } else {
        tile<1>(c, bank.span, in, 0, out, 0);
        b += 1;
      }
    }
  }
}
