// Filter: the resampling from one rate to another, as a chain of banks.
//
// Immutable once made, so any number of threads may use one at the same time.
#pragma once
#include <cstdint>
#include <vector>

#include "kernel.h"

namespace headrace {

// One bank and the ratio it makes: `up`/`down` of the rate that comes in, in lowest terms. An output
// at position p of its input uses no input further from p than `reach`.
struct Stage {
  std::vector<float> coefficients;
  std::vector<int64_t> first;
  int64_t up, down, reach;
};

struct Span {
  int64_t begin, end;  // half-open
};

class Filter {
 public:
  // No stage at all: the rates are equal. Throws std::invalid_argument if a stage's parts do not fit
  // each other.
  explicit Filter(std::vector<Stage> stages);

  bool identity() const { return stages_.empty(); }

  // The inputs that outputs [start, stop) depend on; not clipped to the recording.
  Span support(int64_t start, int64_t stop) const;

  // The inputs that must be in memory for them: a little more, since outputs are made in groups. What
  // is outside `support` only has to be finite.
  Span span(int64_t start, int64_t stop) const;

  // Floats of scratch that `apply` needs for any `outputs` outputs (signals between stages).
  int64_t scratch(int64_t outputs) const;

  // y[m - y_start] for m in [y_start, y_stop); x[0] is input x_start, and x holds `span` of them.
  // Checks nothing, allocates nothing, needs no GIL; the caller has set the floating-point mode.
  void apply(ResampleFn resample, const float* x, int64_t x_start, float* y, int64_t y_start,
             int64_t y_stop, float* scratch) const;

  // Outputs from -furthest() to furthest() can be computed without a position that overflows: years
  // of audio at any rate.
  int64_t furthest() const { return furthest_; }

  // Bytes of all tables.
  int64_t nbytes() const;

 private:
  std::vector<Stage> stages_;
  int64_t furthest_;
};

}  // namespace headrace
