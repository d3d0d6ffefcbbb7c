#include "arithmetic/filter.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace headrace {
namespace {

constexpr int64_t LARGEST_RATE = int64_t{1} << 31;
constexpr int64_t MOST_PHASES = 1 << 16;
constexpr int64_t FURTHEST = int64_t{1} << 58;
constexpr int64_t CACHE_LINE = 64;

// Floats between the stages that stay in the level 2 cache beside the tables.
constexpr int64_t CACHED_FLOATS = 1 << 16;

// The fewest outputs in a piece. Each piece computes some samples between the stages again that the one
// before it had, and longer pieces have fewer of them.
constexpr int64_t SHORTEST_PIECE = 1 << 10;

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// floor(a * b / c) for c > 0 and b, c below 2^31, without a product that overflows.
int64_t scale(int64_t a, int64_t b, int64_t c) {
  const int64_t whole = floor_div(a, c);
  return whole * b + (a - whole * c) * b / c;
}

void check(const FilterStage& stage) {
  const int64_t groups = static_cast<int64_t>(stage.first.size());
  if (stage.up < 1 || stage.down < 1 || stage.up >= LARGEST_RATE || stage.down >= LARGEST_RATE ||
      std::gcd(stage.up, stage.down) != 1)
    throw std::invalid_argument("up and down must be a ratio of rates in lowest terms");
  if (stage.phases < 0 || stage.phases > MOST_PHASES || (stage.phases > 0 && groups != 1))
    throw std::invalid_argument("phases and first contradict each other");
  const size_t row = stage.phases > 0 ? static_cast<size_t>(stage.phases) * 3 * LANES
                                      : static_cast<size_t>(groups) * LANES;
  if (groups < 1 || stage.coefficients.empty() || stage.coefficients.size() % row != 0 ||
      (stage.phases == 0 && (groups * LANES % stage.up != 0 ||
                             groups * LANES / stage.up >= LARGEST_RATE / stage.down)))
    throw std::invalid_argument("coefficients, first and up contradict each other");
  if (stage.reach < 1 || stage.reach >= LARGEST_RATE)
    throw std::invalid_argument("reach must be from 1 to below 2^31");
  // A group never starts before the group that it follows, within a block and from block to block. So a
  // call's first and last groups bound what it reads.
  for (int64_t g = 0; g < groups; ++g)
    if (stage.first[g] <= -LARGEST_RATE || stage.first[g] >= LARGEST_RATE ||
        (g > 0 && stage.first[g] < stage.first[g - 1]))
      throw std::invalid_argument("first must not decrease");
  if (stage.phases == 0 &&
      stage.first[groups - 1] - stage.first[0] > groups * LANES / stage.up * stage.down)
    throw std::invalid_argument("first must not decrease from block to block");
}

}  // namespace

Filter::Table::Table(FilterStage stage) : first(std::move(stage.first)), reach(stage.reach) {
  const size_t count = stage.coefficients.size();
  memory = std::move(stage.coefficients);
  memory.resize(count + CACHE_LINE / sizeof(float));
  const size_t misplaced = reinterpret_cast<uintptr_t>(memory.data()) % CACHE_LINE;
  const size_t shift = misplaced == 0 ? 0 : (CACHE_LINE - misplaced) / sizeof(float);
  std::memmove(memory.data() + shift, memory.data(), count * sizeof(float));

  const int64_t groups = static_cast<int64_t>(first.size());
  bank = {};
  bank.coefficients = memory.data() + shift;
  bank.first = first.data();
  bank.groups = groups;
  bank.phases = stage.phases;
  bank.up = stage.up;
  bank.down = stage.down;
  if (bank.phases > 0) {
    bank.span = static_cast<int64_t>(count) / (bank.phases * 3 * LANES);
  } else {
    bank.block_out = groups * LANES;
    bank.block_in = bank.block_out / stage.up * stage.down;
    bank.span = static_cast<int64_t>(count) / bank.block_out;
    find_zeros();
    find_taps();
  }
  // Every group's span must hold what its outputs depend on. If coefficients are interpolated, a group's
  // first output may be anywhere between two inputs.
  bool complete = true;
  for (int64_t m = 0; m < (bank.phases > 0 ? LANES : bank.block_out); ++m) {
    const Span needed = support({m, m + 1});
    const int64_t begin = first_input(m), late = bank.phases > 0 ? 1 : 0;
    complete = complete && needed.begin >= begin && needed.end + late <= begin + bank.span;
  }
  if (!complete) throw std::invalid_argument("coefficients, first and reach contradict each other");
}

void Filter::Table::find_zeros() {
  bank.low_end = 0;
  bank.high_begin = bank.span;
  for (int64_t g = 0; g < bank.groups; ++g)
    for (int64_t i = 0; i < bank.span; ++i) {
      const float* row = bank.coefficients + (g * bank.span + i) * LANES;
      const auto nonzero = [](float c) { return c != 0.0f; };
      if (std::any_of(row, row + HALF, nonzero)) bank.low_end = std::max(bank.low_end, i + 1);
      if (std::any_of(row + HALF, row + LANES, nonzero))
        bank.high_begin = std::min(bank.high_begin, i);
    }
  bank.high_begin = std::min(bank.high_begin, bank.low_end);
}

void Filter::Table::find_taps() {
  if (bank.up != 1 || bank.down != 2 || bank.groups != 1) return;
  for (int64_t i = 0; i < bank.span; ++i)
    if (bank.coefficients[i * LANES] != 0.0f) {
      tap.push_back(bank.coefficients[i * LANES]);
      tap_row.push_back(i);
    }
  if (tap.empty() || tap.size() > MOST_TAPS || tap_row.back() - tap_row.front() > 4 * MOST_TAPS)
    return;
  for (int64_t i = 0; i < bank.span; ++i)  // every lane must have the filter of lane 0, shifted
    for (int64_t lane = 0; lane < LANES; ++lane) {
      const int64_t row = i - 2 * lane;
      const float same = row >= 0 ? bank.coefficients[row * LANES] : 0.0f;
      if (bank.coefficients[i * LANES + lane] != same) return;
    }
  bank.taps = static_cast<int64_t>(tap.size());
  bank.tap = tap.data();
  bank.tap_row = tap_row.data();
}

int64_t Filter::Table::first_input(int64_t output) const {
  if (bank.phases > 0)
    return scale(floor_div(output, LANES) * LANES, bank.down, bank.up) + bank.first[0];
  const int64_t block = floor_div(output, bank.block_out);
  return block * bank.block_in + bank.first[(output - block * bank.block_out) / LANES];
}

Span Filter::Table::support(Span outputs) const {
  return {scale(outputs.begin, bank.down, bank.up) - reach + 1,
          scale(outputs.end - 1, bank.down, bank.up) + reach + 1};
}

Span Filter::Table::span(Span outputs) const {
  return {first_input(outputs.begin), first_input(outputs.end - 1) + bank.span};
}

// An upper bound on the length of `span` for any `outputs` outputs.
int64_t Filter::Table::longest_span(int64_t outputs) const {
  int64_t low = FURTHEST, high = -FURTHEST;
  for (int64_t g = 0; g < bank.groups; ++g) {
    const int64_t offset = bank.first[g] - scale(g * LANES, bank.down, bank.up);
    low = std::min(low, offset);
    high = std::max(high, offset);
  }
  return scale(outputs + LANES, bank.down, bank.up) + 2 + high - low + bank.span;
}

Filter::Filter(std::vector<FilterStage> stages) {
  tables_.reserve(stages.size());
  for (FilterStage& stage : stages) {
    check(stage);
    tables_.emplace_back(std::move(stage));
  }
  double largest = 1, ratio = 1;
  for (auto table = tables_.rbegin(); table != tables_.rend(); ++table) {
    ratio *= static_cast<double>(table->bank.down) / static_cast<double>(table->bank.up);
    largest = std::max(largest, ratio);
  }
  furthest_ = static_cast<int64_t>(static_cast<double>(FURTHEST) / largest);
  piece_ = FURTHEST;
  if (tables_.size() > 1)
    for (piece_ = SHORTEST_PIECE; scratch_of(2 * piece_) <= CACHED_FLOATS && piece_ < CACHED_FLOATS;)
      piece_ *= 2;
}

Span Filter::support(int64_t start, int64_t stop) const {
  Span at{start, stop};
  for (size_t s = tables_.size(); s-- > 0;) at = tables_[s].support(at);
  return at;
}

Span Filter::span(int64_t start, int64_t stop) const {
  Span at{start, stop};
  for (size_t s = tables_.size(); s-- > 0;) at = s > 0 ? tables_[s].support(at) : tables_[s].span(at);
  return at;
}

int64_t Filter::scratch_of(int64_t outputs) const {
  int64_t floats = 0;
  for (size_t s = tables_.size(); s-- > 1;) {
    outputs = tables_[s].longest_span(outputs);
    floats += outputs;
  }
  return floats;
}

int64_t Filter::scratch(int64_t outputs) const { return scratch_of(std::min(outputs, piece_)); }

void Filter::apply(ResampleFn resample, const float* x, int64_t x_start, float* y, int64_t y_start,
                   int64_t y_stop, float* scratch) const {
  if (y_start >= y_stop) return;
  if (identity()) {
    std::memcpy(y, x + (y_start - x_start), static_cast<size_t>(y_stop - y_start) * sizeof(float));
    return;
  }
  for (int64_t begin = y_start; begin < y_stop;) {
    // Pieces end at the end of a group of outputs.
    const int64_t end = std::min(y_stop, floor_div(begin + piece_, LANES) * LANES);
    apply_piece(resample, x, x_start, y + (begin - y_start), begin, end, scratch);
    begin = end;
  }
}

void Filter::apply_piece(ResampleFn resample, const float* x, int64_t x_start, float* y,
                         int64_t y_start, int64_t y_stop, float* scratch) const {
  for (size_t s = 0; s + 1 < tables_.size(); ++s) {
    // What this stage has to compute, and the range around it that the next stage reads.
    Span computed{y_start, y_stop}, held = computed;
    for (size_t later = tables_.size(); later-- > s + 1;) {
      held = tables_[later].span(computed);
      computed = tables_[later].support(computed);
    }
    // Only what the outputs depend on is computed, and zeros stand around it. Samples computed there could
    // overflow to infinity, and infinity times a coefficient of zero is NaN.
    float* begin = scratch + (computed.begin - held.begin);
    float* end = scratch + (computed.end - held.begin);
    std::fill(scratch, begin, 0.0f);
    resample(tables_[s].bank, x, x_start, begin, computed.begin, computed.end);
    std::fill(end, scratch + (held.end - held.begin), 0.0f);
    x = scratch;
    x_start = held.begin;
    scratch += held.end - held.begin;
  }
  resample(tables_.back().bank, x, x_start, y, y_start, y_stop);
}

int64_t Filter::nbytes() const {
  size_t bytes = 0;
  for (const Table& table : tables_)
    bytes += (table.memory.size() + table.tap.size()) * sizeof(float) +
             (table.first.size() + table.tap_row.size()) * sizeof(int64_t);
  return static_cast<int64_t>(bytes);
}

}  // namespace headrace
