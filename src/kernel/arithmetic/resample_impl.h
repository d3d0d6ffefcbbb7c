// The body of resample() (resample.h), compiled once per instruction set.
//
// The including file is inside the namespace of its instruction set and defines
//   Vec         WIDTH floats, with load(p), splat(p), zero(), store(p), add(a, b), and
//               fma(a, b, c) = a*b + c rounded once; if WIDTH is LANES, also low() and high(), the
//               halves, and join(low, high),
//   Half        the same for half the lanes, or fewer,
//   split(p, n, out, stride)  out[r stride + i] = p[4 i + r] for r < 4 and i < n, a multiple of LANES,
//   interleave(a, b, p)  stores a[0], b[0], a[1], b[1], ...,
//   TILE        how many blocks share one pass over the coefficients (accumulators in registers),
//   DENSE       how many Vecs of even outputs, and of odd ones, share one pass over the taps of halve().
//
// Each output is one chain of fused multiply-adds in the order of its inputs, starting from +0, so the
// result does not depend on any of these. +0 is added at the end: otherwise the sign of a sum that
// underflows to -0 would depend on the signs of inputs that its filter does not reach.
//
// No library code may be used here: the linker could choose an inline function that was compiled for this
// instruction set, and a machine without it would crash.

// Rows of coefficients that are prefetched: a table may be in the level 3 cache.
constexpr int AHEAD = 24;

// Loops over sums are unrolled, because only then do the sums stay in registers.
#if defined(_MSC_VER) && !defined(__clang__)  // has neither pragma nor builtin, and is slower
#define UNROLL
#define PREFETCH(p)
#define IN_REGISTER(v)
#else
#define UNROLL _Pragma("GCC unroll 16")
#define PREFETCH(p) __builtin_prefetch(p)
#if defined(__x86_64__)  // or GCC loads an operand of two instructions twice
#define IN_REGISTER(v) asm("" : "+v"(v))
#else
#define IN_REGISTER(v)
#endif
#endif

// Floats of a table that stays in the level 2 cache beside its inputs.
constexpr int64_t SMALL_TABLE = 1 << 17;

// Adds rows [0, rows) to the sums of all blocks, for the vectors from BEGIN to END.
template <int BEGIN, int END, class V, int BLOCKS, int N>
static inline void add_rows(const float* c, int64_t rows, const float* x, int64_t x_stride,
                            V (&sum)[BLOCKS][N]) {
  for (int64_t i = 0; i < rows; ++i, c += LANES) {
    V k[N];
    UNROLL for (int v = BEGIN; v < END; ++v) k[v] = V::load(c + v * V::WIDTH);
    PREFETCH(c + AHEAD * LANES);
    UNROLL for (int b = 0; b < BLOCKS; ++b) {
      const V input = V::splat(x + b * x_stride + i);
      UNROLL for (int v = BEGIN; v < END; ++v) sum[b][v] = V::fma(input, k[v], sum[b][v]);
    }
  }
}

// One group of BLOCKS blocks.
template <class V, int BLOCKS>
static inline void tile(const Bank& bank, const float* c, const float* x, int64_t x_stride,
                        float* out, int64_t out_stride) {
  const int64_t low_end = bank.low_end, high_begin = bank.high_begin;
  const float* c_high = c + high_begin * LANES;
  const float* c_low_end = c + low_end * LANES;
  if constexpr (V::WIDTH == LANES) {
    Half half[BLOCKS][1];
    V sum[BLOCKS][1];
    UNROLL for (int b = 0; b < BLOCKS; ++b) half[b][0] = Half::zero();
    add_rows<0, 1>(c, high_begin, x, x_stride, half);
    UNROLL for (int b = 0; b < BLOCKS; ++b) sum[b][0] = V::join(half[b][0], Half::zero());
    add_rows<0, 1>(c_high, low_end - high_begin, x + high_begin, x_stride, sum);
    UNROLL for (int b = 0; b < BLOCKS; ++b) half[b][0] = sum[b][0].high();
    add_rows<0, 1>(c_low_end + HALF, bank.span - low_end, x + low_end, x_stride, half);
    UNROLL for (int b = 0; b < BLOCKS; ++b) {
      Half::add(sum[b][0].low(), Half::zero()).store(out + b * out_stride);
      Half::add(half[b][0], Half::zero()).store(out + b * out_stride + HALF);
    }
  } else {
    constexpr int N = LANES / V::WIDTH;
    V sum[BLOCKS][N];
    UNROLL for (int b = 0; b < BLOCKS; ++b)
      UNROLL for (int v = 0; v < N; ++v) sum[b][v] = V::zero();
    add_rows<0, N / 2>(c, high_begin, x, x_stride, sum);
    add_rows<0, N>(c_high, low_end - high_begin, x + high_begin, x_stride, sum);
    add_rows<N / 2, N>(c_low_end, bank.span - low_end, x + low_end, x_stride, sum);
    UNROLL for (int b = 0; b < BLOCKS; ++b)
      UNROLL for (int v = 0; v < N; ++v)
        V::add(sum[b][v], V::zero()).store(out + b * out_stride + v * V::WIDTH);
  }
}

template <int BLOCKS>
static inline void tiles(const Bank& bank, const float* c, int64_t blocks, const float* x, float* y) {
  if constexpr (BLOCKS > 0) {
    if (blocks == BLOCKS)
      tile<Vec, BLOCKS>(bank, c, x, bank.block_in, y, bank.block_out);
    else
      tiles<BLOCKS - 1>(bank, c, blocks, x, y);
  }
}

static inline int64_t floor_div(int64_t a, int64_t b) {  // b > 0
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}
static inline int64_t ceil_div(int64_t a, int64_t b) { return -floor_div(-a, b); }

// A group of which not all outputs are wanted.
static inline void part(const Bank& bank, const float* c, const float* x, float* y, int64_t m,
                        int64_t y_start, int64_t y_stop) {
  float lanes[LANES];
  tile<Vec, 1>(bank, c, x, 0, lanes, 0);
  for (int lane = 0; lane < LANES; ++lane)
    if (m + lane >= y_start && m + lane < y_stop) y[m + lane - y_start] = lanes[lane];
}

// All tiles of one group among `blocks` blocks from `begin` on.
static inline void group(const Bank& bank, int64_t g, int64_t begin, int64_t blocks, const float* x,
                         int64_t x_start, float* y, int64_t y_start, int64_t y_stop) {
  const float* c = bank.coefficients + g * bank.span * LANES;
  const float* in = x + (bank.first[g] - x_start);
  const int64_t lane0 = g * LANES;
  // Blocks in which this group has at least one output in the range, and blocks in which it has all.
  const int64_t some = ceil_div(y_start - lane0 - (LANES - 1), bank.block_out);
  const int64_t some_end = ceil_div(y_stop - lane0, bank.block_out);
  const int64_t whole = ceil_div(y_start - lane0, bank.block_out);
  const int64_t whole_end = ceil_div(y_stop - lane0 - (LANES - 1), bank.block_out);
  const int64_t end = begin + blocks < some_end ? begin + blocks : some_end;
  int64_t b = begin > some ? begin : some;
  while (b < end) {
    const float* from = in + b * bank.block_in;
    const int64_t m = b * bank.block_out + lane0;
    if (b < whole || b >= whole_end) {
      part(bank, c, from, y, m, y_start, y_stop);
      b += 1;
      continue;
    }
    // Tiles of nearly equal size: a tile of few blocks would leave multipliers idle.
    const int64_t left = (whole_end < end ? whole_end : end) - b;
    const int64_t passes = (left + TILE - 1) / TILE;
    const int64_t together = (left + passes - 1) / passes;
    tiles<TILE>(bank, c, together, from, y + (m - y_start));
    b += together;
  }
}

static void resample_blocks(const Bank& bank, const float* x, int64_t x_start, float* y,
                            int64_t y_start, int64_t y_stop) {
  // A small table is read again for every tile, so that the inputs stay in the level 1 cache. A large table
  // is read once.
  const int64_t begin = floor_div(y_start, bank.block_out);
  const int64_t blocks = floor_div(y_stop - 1, bank.block_out) + 1 - begin;
  const int64_t passes = (blocks + TILE - 1) / TILE;
  const bool small = bank.groups * bank.span * LANES <= SMALL_TABLE;
  const int64_t together = small ? (blocks + passes - 1) / passes : blocks;
  for (int64_t b = begin; b < begin + blocks; b += together)
    for (int64_t g = 0; g < bank.groups; ++g)
      group(bank, g, b, together, x, x_start, y, y_start, y_stop);
}

// One output for two inputs, from the nonzero taps. The inputs are split by their number modulo 4 and the
// outputs by their number modulo 2. So a vector of inputs that is loaded for the even outputs also serves
// the odd ones, one tap later. This matters because unaligned vectors load at half the speed of arithmetic.
static void halve(const Bank& bank, const float* x, int64_t x_start, float* y, int64_t y_start,
                  int64_t y_stop) {
  constexpr int PAIRS = DENSE * Vec::WIDTH;
  constexpr int OUTPUTS = 2 * PAIRS;
  constexpr int ROOM = (1024 + OUTPUTS - 1) / OUTPUTS * OUTPUTS;
  constexpr int STRIDE = ROOM / 2 + MOST_TAPS + LANES;  // rows go up to 4 MOST_TAPS + 2
  alignas(64) float parted[4 * STRIDE];
  alignas(64) float made[OUTPUTS];
  const int64_t rows = bank.tap_row[bank.taps - 1] - bank.tap_row[0];
  // The offsets in `parted` of each tap's inputs, for even and for odd outputs.
  int64_t for_even[MOST_TAPS], for_odd[MOST_TAPS];
  for (int64_t t = 0; t < bank.taps; ++t) {
    const int64_t row = bank.tap_row[t] - bank.tap_row[0];
    for_even[t] = (row & 3) * STRIDE + row / 4;
    for_odd[t] = ((row + 2) & 3) * STRIDE + (row + 2) / 4;
  }
  for (int64_t piece = y_start; piece < y_stop; piece += ROOM) {
    const int64_t piece_stop = y_stop - piece < ROOM ? y_stop : piece + ROOM;
    const float* in = x + (2 * piece + bank.first[0] + bank.tap_row[0] - x_start);
    // Whole vectors; then the last whole vector of fours, which may overlap them; then single inputs.
    // Nothing after the last input is read.
    const int64_t inputs = 2 * (piece_stop - piece - 1) + rows + 1;
    const int64_t fours = inputs / 4, vectors = fours / LANES * LANES;
    split(in, vectors, parted, STRIDE);
    const int64_t again = fours - LANES;
    if (again >= 0) split(in + 4 * again, LANES, parted + again, STRIDE);
    for (int64_t i = again >= 0 ? 4 * fours : 0; i < inputs; ++i)
      parted[(i & 3) * STRIDE + i / 4] = in[i];
    for (int64_t m = piece; m < piece_stop; m += OUTPUTS) {
      const float* base = parted + (m - piece) / 2;
      Vec even[DENSE], odd[DENSE];
      UNROLL for (int d = 0; d < DENSE; ++d) even[d] = odd[d] = Vec::zero();
      const auto add = [](Vec(&sum)[DENSE], const float* p, Vec k) {
        UNROLL for (int d = 0; d < DENSE; ++d)
          sum[d] = Vec::fma(Vec::load(p + d * Vec::WIDTH), k, sum[d]);
      };
      // The odd outputs are one tap behind the even ones and mostly use the same inputs.
      Vec before = Vec::splat(bank.tap);
      add(even, base, before);
      for (int64_t t = 1; t < bank.taps; ++t) {
        const Vec k = Vec::splat(bank.tap + t);
        const float* p = base + for_even[t];
        if (for_even[t] == for_odd[t - 1]) {
          UNROLL for (int d = 0; d < DENSE; ++d) {
            Vec input = Vec::load(p + d * Vec::WIDTH);
            IN_REGISTER(input.v);
            even[d] = Vec::fma(input, k, even[d]);
            odd[d] = Vec::fma(input, before, odd[d]);
          }
        } else {
          add(even, p, k);
          add(odd, base + for_odd[t - 1], before);
        }
        before = k;
      }
      add(odd, base + for_odd[bank.taps - 1], before);
      const bool whole = piece_stop - m >= OUTPUTS;
      float* out = whole ? y + (m - y_start) : made;
      UNROLL for (int d = 0; d < DENSE; ++d)
        interleave(Vec::add(even[d], Vec::zero()), Vec::add(odd[d], Vec::zero()),
              out + 2 * d * Vec::WIDTH);
      if (!whole)
        for (int64_t i = 0; i < piece_stop - m; ++i) y[m - y_start + i] = made[i];
    }
  }
}

// Coefficients between two phases: a parabola in t, the distance of a group's first output from its phase.
// t is the same for all lanes, because the table holds their exact distances from each other.
static void interpolate(const Bank& bank, const float* x, int64_t x_start, float* y,
                        int64_t y_start, int64_t y_stop) {
  for (int64_t g = floor_div(y_start, LANES); g * LANES < y_stop; ++g) {
    const int64_t m = g * LANES;
    const int64_t period = floor_div(m, bank.up);
    const int64_t turn = (m - period * bank.up) * bank.down;
    const int64_t input = turn / bank.up;
    const int64_t behind = (turn - input * bank.up) * bank.phases;
    const int64_t phase = behind / bank.up;
    const float t = static_cast<float>(static_cast<double>(behind - phase * bank.up) /
                                       static_cast<double>(bank.up));
    const float* c = bank.coefficients + phase * bank.span * 3 * LANES;
    const float* in = x + (period * bank.down + input + bank.first[0] - x_start);
    constexpr int N = LANES / Vec::WIDTH;
    const Vec along = Vec::splat(&t);
    Vec sum[N];
    for (int v = 0; v < N; ++v) sum[v] = Vec::zero();
    for (int64_t i = 0; i < bank.span; ++i, c += 3 * LANES) {
      const Vec sample = Vec::splat(in + i);
      UNROLL for (int v = 0; v < N; ++v) {
        const float* p = c + v * Vec::WIDTH;
        const Vec slope = Vec::fma(Vec::load(p + 2 * LANES), along, Vec::load(p + LANES));
        sum[v] = Vec::fma(sample, Vec::fma(slope, along, Vec::load(p)), sum[v]);
      }
    }
    const bool whole = m >= y_start && m + LANES <= y_stop;
    float lanes[LANES];
    float* out = whole ? y + (m - y_start) : lanes;
    for (int v = 0; v < N; ++v) Vec::add(sum[v], Vec::zero()).store(out + v * Vec::WIDTH);
    if (!whole)
      for (int lane = 0; lane < LANES; ++lane)
        if (m + lane >= y_start && m + lane < y_stop) y[m + lane - y_start] = lanes[lane];
  }
}

void resample(const Bank& bank, const float* x, int64_t x_start, float* y, int64_t y_start,
              int64_t y_stop) {
  if (bank.phases > 0)
    interpolate(bank, x, x_start, y, y_start, y_stop);
  else if (bank.taps > 0)
    halve(bank, x, x_start, y, y_start, y_stop);
  else
    resample_blocks(bank, x, x_start, y, y_start, y_stop);
}
