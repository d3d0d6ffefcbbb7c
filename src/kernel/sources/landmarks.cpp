#include "sources/landmarks.h"

#include <algorithm>
#include <cmath>

#include "sources/flac_frame.h"

namespace headrace {
namespace {

// A number that is learnt rises by the factor with each error that is larger, and falls with each that is smaller, by the
// factor or by its fourth root: so that half of them are smaller, or four of five. Guesses, as the limits.
constexpr double USUAL_FACTOR = 1.25, LARGE_FACTOR = 1.5;
constexpr double LEAST_ERROR = 0.002, MOST_ERROR = 0.3;
constexpr double FAR = 48;  // FLAC frames: the sizes of single ones hardly change errors of places that far from others

constexpr double FRAME = 4096;   // PCM frames of a FLAC frame, as encoders make them
constexpr double MARGIN = 2.0;   // FLAC frames: a sample is anywhere in one, and those near it differ in size

// In multiples of the bytes that a read needs. These were chosen by counting requests and bytes of random windows of 5 s
// of recordings whose loudness changes each minute.
constexpr double PROBE_COST = 1.3;   // of a request for a probe, and of waiting for it
constexpr double MOST_MARGIN = 0.3;  // at each end
constexpr double SURE = 0.5;         // the cost of a read that waits for no other

constexpr double PROBE_FRAMES = 3.5;  // one of two is whole, and frames differ in size
constexpr double LEAST_PROBE = 6 << 10, MOST_PROBE = 64 << 10;  // bytes
constexpr int MOST_PROBES = 4;  // for one read

bool before(const Landmark& one, int64_t frame) { return one.first < frame; }

// One from a table of places: it says where a frame begins, and nothing of that has been decoded.
bool is_claim(const Landmark& one) { return one.stop <= one.first; }

// Whether it is a whole frame. Of the first one of a file, only the header may be known.
bool is_frame(const Landmark& one) { return !is_claim(one) && one.end - one.offset > FLAC_HEADER_BYTES; }

struct Spot {
  double offset;
  double distance;          // bytes to the next landmark; 0 if the place is known
  double flac_frame_bytes;  // of a FLAC frame there; 0 if it is not known
  bool exact = false;
};

double bytes_of(const Landmark& one) { return static_cast<double>(one.end - one.offset); }

// Where the FLAC frame that holds `frame` begins, or about where `frame` is in it.
Spot begin_of(const std::vector<Landmark>& marks, int64_t frames, int64_t size, int64_t frame) {
  const auto next = std::lower_bound(marks.begin(), marks.end(), frame, before);
  if (next != marks.end() && next->first == frame)
    return {static_cast<double>(next->offset), 0, bytes_of(*next), !is_claim(*next)};
  Landmark low{0, 0, 0, 0}, high{frames, frames, size, size};
  if (next != marks.begin()) low = *(next - 1);
  if (next != marks.end()) high = *next;
  const double flac_frame_bytes = std::max(bytes_of(low), next == marks.end() ? 0 : bytes_of(high));
  if (frame < low.stop) return {static_cast<double>(low.offset), 0, flac_frame_bytes, true};
  const auto bytes = static_cast<double>(high.offset - low.end);
  const double share = high.first > low.stop ? static_cast<double>(frame - low.stop) /
                                                   static_cast<double>(high.first - low.stop)
                                             : 0;
  return {static_cast<double>(low.end) + share * bytes, bytes * std::min(share, 1 - share), flac_frame_bytes};
}

// Where the FLAC frame that holds the frame before `frame` ends, or about where `frame` is.
Spot end_of(const std::vector<Landmark>& marks, int64_t frames, int64_t size, int64_t frame) {
  const auto next = std::lower_bound(marks.begin(), marks.end(), frame, before);
  if (next != marks.begin()) {
    const Landmark& last = *(next - 1);
    if (frame <= last.stop && is_frame(last))
      return {static_cast<double>(last.end), 0, bytes_of(last), true};
  }
  if (frame >= frames) return {static_cast<double>(size), 0, 0, true};
  Spot spot = begin_of(marks, frames, size, frame);
  spot.exact = false;
  return spot;
}

// Compare where a frame is with where it was thought to be: change the errors to expect.
void learn(const Spot& thought, const Landmark& one, double* usual, double* large) {
  const double frame = bytes_of(one);
  if (thought.distance < FAR * frame) return;  // the sizes of single frames say nothing
  const double error = std::max(0.0, std::abs(static_cast<double>(one.offset) - thought.offset) - frame);
  const auto adapt = [&](double* number, double up, double down) {
    *number *= error > *number * thought.distance ? up : 1 / down;
    *number = std::max(LEAST_ERROR, std::min(MOST_ERROR, *number));
  };
  adapt(usual, USUAL_FACTOR, USUAL_FACTOR);
  adapt(large, LARGE_FACTOR, std::sqrt(std::sqrt(LARGE_FACTOR)));
  *large = std::max(*large, *usual);
}

// How to read where half of the errors are smaller than `usual` and four of five smaller than `large`: with which margin
// at both ends, and what that is likely to cost beside one request and the bytes that are needed. All are multiples of
// these bytes, and a request is worth as much as they are.
struct Choice {
  double margin, cost;
};
Choice choose(double usual, double large, int ends) {
  Choice best{0, large > 0 ? 9.0 : 0};
  for (const double margin : {usual, large, 2 * large, MOST_MARGIN}) {
    if (margin > MOST_MARGIN || margin <= 0) continue;
    double missed = 0.2 * large / margin;  // how many of such reads need another request
    if (margin < large) missed = 0.5 - 0.3 * (margin - usual) / (large - usual);
    if (margin < usual) missed = 1 - 0.5 * margin / usual;
    const double cost = ends * margin + missed * (1 + std::min(1.0, large));
    if (cost < best.cost) best = {margin, cost};
  }
  return best;
}

}  // namespace

void Landmarks::note(const std::string& recording, const std::vector<Landmark>& found) {
  const std::lock_guard<std::mutex> guard(mutex_);
  auto at = found_.find(recording);
  if (at == found_.end()) {
    at = found_.emplace(recording, std::vector<Landmark>()).first;
    order_.push_back(recording);
  }
  std::vector<Landmark>& marks = at->second;
  for (const Landmark& one : found) {
    auto next = std::lower_bound(marks.begin(), marks.end(), one.first, before);
    if (next != marks.end() && next->first == one.first) {
      if (is_claim(*next)) *next = one;
      continue;
    }
    const bool known = next != marks.begin() && next != marks.end();
    if (known && !is_claim(one)) learn(begin_of(marks, 0, 0, one.first), one, &usual_, &large_);
    next = marks.insert(next, one);
    ++count_;
    // Claims that cannot be true, beside it.
    while (next != marks.begin() && is_claim(*(next - 1)) && (next - 1)->offset >= one.offset) {
      next = marks.erase(next - 1);
      --count_;
    }
    while (next + 1 != marks.end() && is_claim(*(next + 1)) && (next + 1)->offset < one.end) {
      next = marks.erase(next + 1) - 1;
      --count_;
    }
  }
  while (count_ > MOST && order_.size() > 1) {
    const std::string oldest = order_.front();
    order_.pop_front();
    if (oldest == recording) {
      order_.push_back(recording);
      continue;
    }
    count_ -= found_[oldest].size();
    found_.erase(oldest);
  }
  if (count_ > MOST) {  // a single recording: every second one is enough
    std::vector<Landmark> half;
    for (size_t i = 0; i < marks.size(); i += 2) half.push_back(marks[i]);
    count_ -= marks.size() - half.size();
    marks.swap(half);
  }
}

bool Landmarks::knows(const std::string& recording) const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return found_.count(recording) > 0;
}

std::vector<Landmark> Landmarks::around(const std::string& recording, int64_t frame) const {
  std::vector<Landmark> found;
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto at = found_.find(recording);
  if (at == found_.end()) return found;
  const std::vector<Landmark>& marks = at->second;
  const auto next = std::lower_bound(marks.begin(), marks.end(), frame + 1, before);
  if (next != marks.end()) found.push_back(*next);
  if (next != marks.begin()) found.push_back(*(next - 1));
  return found;
}

std::optional<FlacRange> Landmarks::next(const std::string& recording, int64_t frames, int64_t size, int64_t start,
                                         int64_t stop, ByteRange held, bool probed, int steps) const {
  const std::lock_guard<std::mutex> guard(mutex_);
  static const std::vector<Landmark> NONE;
  const auto at = found_.find(recording);
  const std::vector<Landmark>& marks = at == found_.end() ? NONE : at->second;
  const Spot from = begin_of(marks, frames, size, start), to = end_of(marks, frames, size, stop);
  const auto held_begin = static_cast<double>(held.begin), held_end = static_cast<double>(held.end);
  // Between the first frame that was found there and the last one, all are there.
  auto low = std::lower_bound(marks.begin(), marks.end(), start + 1, before);
  while (low != marks.begin() && is_claim(*(low - 1))) --low;
  auto high = std::lower_bound(marks.begin(), marks.end(), stop, before);
  if (high != marks.begin() && (high - 1)->stop >= stop) --high;
  while (high != marks.end() && !is_frame(*high)) ++high;
  const bool has_begin = !probed && low != marks.begin() && held.begin <= (low - 1)->offset &&
                         (low - 1)->offset < held.end;
  const bool has_end = !probed && (high != marks.end() ? held.begin < high->end && high->end <= held.end
                                                       : stop == frames && held.end == size);
  if (has_begin && has_end) return std::nullopt;

  const double mean = static_cast<double>(size) / static_cast<double>(frames);
  const double frame = std::max({from.flac_frame_bytes, to.flac_frame_bytes, mean * FRAME});
  const double needed = std::max(to.offset - from.offset, frame), distance = (from.distance + to.distance) / 2;
  const double usual = usual_ * distance / needed, large = large_ * distance / needed;
  const Choice read = choose(usual, large, has_begin || has_end ? 1 : 2);
  // A probe makes the distance as large as the error is now.
  const bool reads = steps > MOST_PROBES || read.cost <= PROBE_COST + choose(usual_ * large, large_ * large, 2).cost;
  const auto whole = [&](double begin, double end, FlacRange::Kind kind) {
    const auto first = std::max<int64_t>(0, static_cast<int64_t>(begin));
    return FlacRange{first, std::max(first + 1, std::min(size, static_cast<int64_t>(std::ceil(end)))), kind};
  };
  if (!reads && !has_begin && !has_end) {
    const double count = std::min(MOST_PROBE, std::max(LEAST_PROBE, std::ldexp(PROBE_FRAMES * frame, steps)));
    const double begin = std::min(from.offset - count / PROBE_FRAMES, static_cast<double>(size) - count);
    return whole(begin, begin + count, FlacRange::PROBE);
  }
  const auto margin = [&](const Spot& one) {
    return one.exact ? 0 : read.margin * needed * one.distance / std::max(1.0, distance) + MARGIN * frame;
  };
  double begin = from.offset - margin(from), end = to.offset + margin(to);
  // What was fetched is kept, and the next guess is not shorter by a little again.
  if (!probed && begin < held_end && held_begin < end) {
    begin = has_begin ? held_begin : std::min(begin, held_begin - frame);
    end = has_end ? held_end : std::max(end, held_end + frame);
  }
  if (from.exact && to.exact) return whole(begin, end, FlacRange::EXACT);
  const bool is_sure = read.cost <= SURE || has_begin || has_end;
  return whole(begin, end, is_sure ? FlacRange::LIKELY : FlacRange::UNSURE);
}

}  // namespace headrace
