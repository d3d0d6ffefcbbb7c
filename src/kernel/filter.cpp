#include "filter.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace headrace {
namespace {

constexpr int64_t LARGEST_RATE = int64_t{1} << 31;
constexpr int64_t FURTHEST = int64_t{1} << 58;

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// floor(a * b / c) for c > 0 and b, c below 2^31, without a product that overflows.
int64_t scale(int64_t a, int64_t b, int64_t c) {
  const int64_t whole = floor_div(a, c);
  return whole * b + (a - whole * c) * b / c;
}

Bank bank_of(const Stage& stage) {
  const int64_t groups = static_cast<int64_t>(stage.first.size());
  const int64_t block_out = groups * LANES;
  return {stage.coefficients.data(),
          stage.first.data(),
          groups,
          static_cast<int64_t>(stage.coefficients.size()) / block_out,
          block_out / stage.up * stage.down,
          block_out};
}

int64_t first_input(const Bank& bank, int64_t output) {
  const int64_t block = floor_div(output, bank.block_out);
  return block * bank.block_in + bank.first[(output - block * bank.block_out) / LANES];
}

// The inputs of one stage, as Filter::support and Filter::span have them for all.
Span support_of(const Stage& stage, Span outputs) {
  return {scale(outputs.begin, stage.down, stage.up) - stage.reach + 1,
          scale(outputs.end - 1, stage.down, stage.up) + stage.reach + 1};
}

Span span_of(const Stage& stage, Span outputs) {
  const Bank bank = bank_of(stage);
  return {first_input(bank, outputs.begin), first_input(bank, outputs.end - 1) + bank.span};
}

// No fewer than `span_of` any so many outputs has.
int64_t longest_span(const Stage& stage, int64_t outputs) {
  const Bank bank = bank_of(stage);
  int64_t low = FURTHEST, high = -FURTHEST;
  for (int64_t g = 0; g < bank.groups; ++g) {
    const int64_t offset = bank.first[g] - scale(g * LANES, stage.down, stage.up);
    low = std::min(low, offset);
    high = std::max(high, offset);
  }
  return scale(outputs + LANES, stage.down, stage.up) + 2 + high - low + bank.span;
}

void check(const Stage& stage) {
  const int64_t groups = static_cast<int64_t>(stage.first.size());
  if (stage.up < 1 || stage.down < 1 || stage.up >= LARGEST_RATE || stage.down >= LARGEST_RATE ||
      std::gcd(stage.up, stage.down) != 1)
    throw std::invalid_argument("up and down are not a ratio of rates in lowest terms");
  if (groups < 1 || groups * LANES % stage.up != 0 ||
      groups * LANES / stage.up >= LARGEST_RATE / stage.down || stage.coefficients.empty() ||
      stage.coefficients.size() % (static_cast<size_t>(groups) * LANES) != 0)
    throw std::invalid_argument("coefficients, first and up do not fit each other");
  if (stage.reach < 1 || stage.reach >= LARGEST_RATE)
    throw std::invalid_argument("reach is not the length of a filter");
  // A group never starts before the one it follows, within a block and from block to block. So the
  // first and the last group of a call hold the extremes of what it reads.
  for (int64_t g = 0; g < groups; ++g)
    if (stage.first[g] <= -LARGEST_RATE || stage.first[g] >= LARGEST_RATE ||
        (g > 0 && stage.first[g] < stage.first[g - 1]))
      throw std::invalid_argument("first must rise");
  if (stage.first[groups - 1] - stage.first[0] > bank_of(stage).block_in)
    throw std::invalid_argument("first must rise from block to block");
  // The groups hold what the outputs depend on.
  const Bank bank = bank_of(stage);
  for (int64_t m = 0; m < bank.block_out; ++m) {
    const Span needed = support_of(stage, {m, m + 1});
    const int64_t begin = first_input(bank, m);
    if (needed.begin < begin || needed.end > begin + bank.span)
      throw std::invalid_argument("coefficients, first and reach do not fit each other");
  }
}

}  // namespace

Filter::Filter(std::vector<Stage> stages) : stages_(std::move(stages)) {
  double largest = 1, ratio = 1;
  for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) {
    check(*stage);
    ratio *= static_cast<double>(stage->down) / static_cast<double>(stage->up);
    largest = std::max(largest, ratio);
  }
  furthest_ = static_cast<int64_t>(static_cast<double>(FURTHEST) / largest);
}

Span Filter::support(int64_t start, int64_t stop) const {
  Span at{start, stop};
  for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) at = support_of(*stage, at);
  return at;
}

Span Filter::span(int64_t start, int64_t stop) const {
  Span at{start, stop};
  for (size_t s = stages_.size(); s-- > 0;)
    at = s > 0 ? support_of(stages_[s], at) : span_of(stages_[s], at);
  return at;
}

int64_t Filter::scratch(int64_t outputs) const {
  int64_t floats = 0;
  for (size_t s = stages_.size(); s-- > 1;) {
    outputs = longest_span(stages_[s], outputs);
    floats += outputs;
  }
  return floats;
}

void Filter::apply(ResampleFn resample, const float* x, int64_t x_start, float* y, int64_t y_start,
                   int64_t y_stop, float* scratch) const {
  if (y_start >= y_stop) return;
  if (identity()) {
    std::memcpy(y, x + (y_start - x_start), static_cast<size_t>(y_stop - y_start) * sizeof(float));
    return;
  }
  for (size_t s = 0; s < stages_.size(); ++s) {
    // What this stage has to make, and where the next one looks for it.
    Span made{y_start, y_stop}, held{y_start, y_stop};
    for (size_t later = stages_.size(); later-- > s + 1;) {
      held = span_of(stages_[later], made);
      made = support_of(stages_[later], made);
    }
    const Bank bank = bank_of(stages_[s]);
    if (s + 1 == stages_.size()) {
      resample(bank, x, x_start, y, y_start, y_stop);
      return;
    }
    // Only what the outputs depend on is computed: the rest could overflow, and infinity times zero
    // is not a number.
    std::fill(scratch, scratch + (made.begin - held.begin), 0.0f);
    resample(bank, x, x_start, scratch + (made.begin - held.begin), made.begin, made.end);
    std::fill(scratch + (made.end - held.begin), scratch + (held.end - held.begin), 0.0f);
    x = scratch;
    x_start = held.begin;
    scratch += held.end - held.begin;
  }
}

int64_t Filter::nbytes() const {
  size_t bytes = 0;
  for (const Stage& stage : stages_)
    bytes += stage.coefficients.size() * sizeof(float) + stage.first.size() * sizeof(int64_t);
  return static_cast<int64_t>(bytes);
}

}  // namespace headrace
