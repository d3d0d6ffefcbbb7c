// The resampling loop's contract: what every instruction set must compute, to the bit.
//
// Guarantees
// - All instruction sets give the same bits. Each output is one chain of fused multiply-adds in the order
//   of its inputs, starting from +0.
// - Nothing here allocates, locks or needs Python. Every function may be called from any number of threads
//   at once, because it touches only its arguments.
//
// Units: positions are sample numbers, counted from the start of the recording.
#pragma once
#include <cstdint>

namespace headrace {

// Outputs computed side by side. Fixed, whatever the vector width, because it shapes the coefficient table.
constexpr int LANES = 16;

// Half the lanes: the unit in which rows of zeros are skipped.
constexpr int HALF = LANES / 2;

// A filter that halves the rate is computed from its nonzero coefficients ("taps") if it has no more than
// this many.
constexpr int MOST_TAPS = 64;

// The coefficients of one ratio of rates, in the order in which they are used.
//
// Outputs come in blocks of `block_out`, the first of which begins at output 0 of the recording. A block is
// divided into `groups` of LANES outputs. The outputs of group g of block b are
// b*block_out + g*LANES + lane. All of them are sums over the same `span` inputs, the first of which is
// b*block_in + first[g]. coefficients[(g*span + i)*LANES + lane] multiplies input i of the span.
//
// Where a lane's filter does not reach an input, the coefficient is +0. Multiplying by it and adding leaves
// a finite sum unchanged, except for the sign of a zero sum, which is set to + at the end. So rows of zeros
// can be skipped: in each group the lower half of the lanes has only zeros from row `low_end` on, and the
// upper half has only zeros before row `high_begin`, which is not above `low_end`.
struct Bank {
  const float* coefficients;
  const int64_t* first;
  int64_t groups;
  int64_t span;
  int64_t block_in;
  int64_t block_out;
  int64_t low_end;
  int64_t high_begin;
  // If the ratio is 1/2 and few coefficients of an output are not zero: those coefficients, and their rows
  // in lane 0 in increasing order. Otherwise `taps` is 0.
  int64_t taps;
  const float* tap;
  const int64_t* tap_row;
  // If coefficients are interpolated: the number of phases per input sample. Each phase has a table of its
  // own, with three coefficients of a parabola in place of each single one. There is one `first` then,
  // relative to the last input that is not after a group's first output, and there are no blocks.
  // Otherwise `phases` is 0.
  int64_t phases;
  int64_t up;
  int64_t down;
};

// Compute y[m - y_start] for m in [y_start, y_stop). x[0] is input number x_start of the recording, and x
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

}  // namespace headrace
