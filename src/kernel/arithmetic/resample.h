// The arithmetic of headrace: what every instruction set must compute, to the bit.
//
// Nothing here allocates, locks, or knows of Python. Every function is safe to call from any number
// of threads at once, because it touches only its arguments.
#pragma once
#include <cstdint>

namespace headrace {

// Outputs computed side by side. Fixed, whatever the vector width: it shapes the coefficient table.
constexpr int LANES = 16;

// Half the lanes: the unit in which rows of zeros are left out.
constexpr int HALF = LANES / 2;

// The most nonzero coefficients of a halver that is computed by its taps.
constexpr int MOST_TAPS = 64;

// The coefficients of one ratio of rates, in the order in which they are used.
//
// Outputs come in blocks of `block_out`, anchored at output 0 of the recording, and a block in
// `groups` of LANES outputs. The outputs of group g of block b are b*block_out + g*LANES + lane;
// all of them are sums over the same `span` inputs, the first of which is b*block_in + first[g].
// coefficients[(g*span + i)*LANES + lane] multiplies input i of the span; where a lane's filter does
// not reach that input it is +0, which leaves a finite chain of fused multiply-adds unchanged (but for
// the sign of a zero, which is made + at the end). So zeros may be left out, and are:
// in each group the lower half of the lanes has only zeros from row `low_end` on, and the upper half
// before row `high_begin`, which is not above `low_end`.
struct Bank {
  const float* coefficients;
  const int64_t* first;
  int64_t groups;
  int64_t span;
  int64_t block_in;
  int64_t block_out;
  int64_t low_end;
  int64_t high_begin;
  // Where the ratio is 1/2 and few coefficients of an output are not zero: those, and their rows in
  // lane 0, in rising order. Otherwise taps is 0.
  int64_t taps;
  const float* tap;
  const int64_t* tap_row;
  // Where the coefficients are interpolated: the number of phases of a sample, of which each has a
  // table of its own (three coefficients of a parabola for each above), else 0. Then there is one
  // `first`, relative to the last input that is not after a group's first output, and no block.
  int64_t phases;
  int64_t up;
  int64_t down;
};

// y[m - y_start] for m in [y_start, y_stop). x[0] is input number x_start of the recording, and x
// holds every input of every group that has an output in that range.
using ResampleFn = void (*)(const Bank& bank, const float* x, int64_t x_start, float* y,
                            int64_t y_start, int64_t y_stop);

namespace portable {
void resample(const Bank&, const float*, int64_t, float*, int64_t, int64_t);
}
namespace avx2 {
void resample(const Bank&, const float*, int64_t, float*, int64_t, int64_t);
}
namespace avx512 {
void resample(const Bank&, const float*, int64_t, float*, int64_t, int64_t);
}

constexpr int MIX = -1;  // the mean of all channels, added in channel order

// Interleaved PCM -> float32, one channel or the mean of all. Integers are scaled by 2^-15 (int16)
// or 2^-31 (int32). Returns whether every result is finite.
template <typename Sample>
bool convert(const Sample* pcm, int64_t frames, int channels, int channel, float* out);

// Copy to memory that is not wanted in the caches: half the traffic, because what is overwritten need
// not be fetched first. Other threads see it after this returns, as they do after any copy.
void stream(const float* from, int64_t count, float* to);

}  // namespace headrace
