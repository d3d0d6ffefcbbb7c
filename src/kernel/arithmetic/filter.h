// Filter: the resampling from one rate to another, as a chain of stages.
//
// Guarantees: immutable after construction, so any number of threads may use one at the same time.
//
// Units: positions are sample numbers at a stage's input or output rate, counted from the start of the
// recording; ranges are half-open and may reach outside of the recording.
#pragma once
#include <cstdint>
#include <vector>

#include "arithmetic/resample.h"

namespace headrace {

// One stage: it multiplies the rate by `up`/`down`, in lowest terms. `coefficients`, `first` and `phases`
// are laid out as in Bank (resample.h).
struct FilterStage {
  std::vector<float> coefficients;
  std::vector<int64_t> first;
  int64_t up, down;
  int64_t reach;  // an output at position p of the input uses no input further from p than this
  int64_t phases = 0;
};

struct Span {
  int64_t begin, end;  // half-open
};

class Filter {
 public:
  // No stages: the rates are equal. Throws std::invalid_argument if the parts of a stage contradict each
  // other.
  explicit Filter(std::vector<FilterStage> stages);
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  bool identity() const { return tables_.empty(); }

  // The inputs that outputs [start, stop) depend on. Not clipped to the recording.
  Span support(int64_t start, int64_t stop) const;

  // The inputs that must be in memory to compute them. It contains `support` and reaches a little further,
  // because outputs are computed in groups. Inputs outside of `support` only have to be finite.
  Span span(int64_t start, int64_t stop) const;

  // Floats of scratch that `apply` needs for any `outputs` outputs: the signals between stages.
  int64_t scratch(int64_t outputs) const;

  // Compute y[m - y_start] for m in [y_start, y_stop). x[0] is input x_start, and x holds their `span`.
  // Checks nothing and allocates nothing. The caller has set the floating-point mode.
  void apply(ResampleFn resample, const float* x, int64_t x_start, float* y, int64_t y_start,
             int64_t y_stop, float* scratch) const;

  // Outputs from -furthest() to furthest() can be computed without an overflow: years of audio at any
  // rate.
  int64_t furthest() const { return furthest_; }

  // Bytes of all tables.
  int64_t nbytes() const;

 private:
  // A stage that has been checked, with its coefficients aligned to cache lines.
  struct Table {
    std::vector<float> memory, tap;
    std::vector<int64_t> first, tap_row;
    int64_t reach;
    Bank bank;  // points into these

    explicit Table(FilterStage stage);
    Span support(Span outputs) const;
    Span span(Span outputs) const;
    int64_t first_input(int64_t output) const;
    int64_t longest_span(int64_t outputs) const;
    void find_zeros();
    void find_taps();
  };

  int64_t scratch_of(int64_t outputs) const;
  void apply_piece(ResampleFn resample, const float* x, int64_t x_start, float* y, int64_t y_start,
                   int64_t y_stop, float* scratch) const;

  std::vector<Table> tables_;
  int64_t furthest_;
  int64_t piece_;  // outputs that pass through all stages at a time; no limit if there is one stage
};

}  // namespace headrace
