// Filter: the resampling from one rate to another, as a chain of banks.
//
// Immutable once made, so any number of threads may use one at the same time.
#pragma once
#include <cstdint>
#include <vector>

#include "arithmetic/resample.h"

namespace headrace {

// One bank and the ratio it makes: `up`/`down` of the rate that comes in, in lowest terms. An output
// at position p of its input uses no input further from p than `reach`. Where `phases` is not 0, the
// coefficients are interpolated between so many: see kernel.h.
struct Stage {
  std::vector<float> coefficients;
  std::vector<int64_t> first;
  int64_t up, down, reach;
  int64_t phases = 0;
};

struct Span {
  int64_t begin, end;  // half-open
};

class Filter {
 public:
  // No stage at all: the rates are equal. Throws std::invalid_argument if a stage's parts do not fit
  // each other.
  explicit Filter(std::vector<Stage> stages);
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  bool identity() const { return tables_.empty(); }

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
  // A stage that has been checked, its coefficients where whole vectors lie in one cache line.
  struct Table {
    std::vector<float> memory, tap;
    std::vector<int64_t> first, tap_row;
    int64_t reach;
    Bank bank;  // points into these

    explicit Table(Stage stage);
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
  int64_t piece_;  // outputs made through all stages at a time, or all where there is one stage
};

}  // namespace headrace
