#include "sources/landmarks.h"

#include <algorithm>
#include <cmath>

namespace headrace {
namespace {

// Of errors of interpolated places, beside the distance to the next landmark: four of five are to be smaller. Each that
// is larger raises the number by the factor, each that is smaller lowers it by its fourth root.
constexpr double FACTOR = 1.5;  // A guess, as the limits
constexpr double LEAST_UNEVEN = 0.01, MOST_UNEVEN = 0.3;
constexpr double MOST_ERROR = 3.0;  // bytes that may be fetched in vain, beside those that are needed. A guess

bool before(const Landmark& one, int64_t frame) { return one.first < frame; }

struct Guess {
  double offset;
  double distance;          // bytes to the next landmark
  double flac_frame_bytes;  // of a FLAC frame there
};

Guess guess(const std::vector<Landmark>& marks, int64_t frames, int64_t size, int64_t frame) {
  const auto next = std::lower_bound(marks.begin(), marks.end(), frame, before);
  const auto bytes_of = [](const Landmark& one) { return static_cast<double>(one.end - one.offset); };
  if (next != marks.end() && next->first == frame)
    return {static_cast<double>(next->offset), 0, bytes_of(*next)};
  Landmark low{0, 0, 0, 0}, high{frames, frames, size, size};
  if (next != marks.begin()) low = *(next - 1);
  if (next != marks.end()) high = *next;
  const double flac_frame_bytes = std::max(next == marks.begin() ? 0 : bytes_of(low),
                                           next == marks.end() ? 0 : bytes_of(high));
  if (frame < low.stop) return {static_cast<double>(low.offset), 0, flac_frame_bytes};
  const auto bytes = static_cast<double>(high.offset - low.end);
  const double share = high.first > low.stop ? static_cast<double>(frame - low.stop) /
                                                   static_cast<double>(high.first - low.stop)
                                             : 0;
  return {static_cast<double>(low.end) + share * bytes, bytes * std::min(share, 1 - share), flac_frame_bytes};
}

// Compare where a frame is with where it was thought to be: change the error to expect.
void learn(const Guess& thought, const Landmark& one, double* uneven) {
  const auto frame = static_cast<double>(one.end - one.offset);
  if (thought.distance < 4 * frame) return;  // the sizes of single frames say nothing
  const double error = std::abs(static_cast<double>(one.offset) - thought.offset) - frame;
  *uneven *= error > *uneven * thought.distance ? FACTOR : std::pow(FACTOR, -0.25);
  *uneven = std::max(LEAST_UNEVEN, std::min(MOST_UNEVEN, *uneven));
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
    const auto next = std::lower_bound(marks.begin(), marks.end(), one.first, before);
    if (next != marks.end() && next->first == one.first) continue;
    // Neighbours that are close tell nothing more.
    const bool near_low = next != marks.begin() && one.first - (next - 1)->stop < one.stop - one.first;
    const bool near_high = next != marks.end() && next->first - one.stop < one.stop - one.first;
    if (near_low && near_high) continue;
    if (next != marks.begin() && next != marks.end()) learn(guess(marks, 0, 0, one.first), one, &uneven_);
    marks.insert(next, one);
    ++count_;
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

std::vector<Landmark> Landmarks::of(const std::string& recording) const {
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto at = found_.find(recording);
  return at == found_.end() ? std::vector<Landmark>() : at->second;
}

std::vector<Landmark> Landmarks::around(const std::string& recording, int64_t frame) const {
  std::vector<Landmark> found;
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto at = found_.find(recording);
  if (at == found_.end()) return found;
  const std::vector<Landmark>& marks = at->second;
  const auto next = std::lower_bound(marks.begin(), marks.end(), frame + 1, before);
  if (next != marks.begin()) found.push_back(*(next - 1));
  if (next != marks.end()) found.push_back(*next);
  return found;
}

bool Landmarks::estimate(const std::string& recording, int64_t frames, int64_t size, int64_t start, int64_t stop,
                         ByteRange* range) const {
  const std::lock_guard<std::mutex> guard(mutex_);
  static const std::vector<Landmark> NONE;
  const auto at = found_.find(recording);
  const std::vector<Landmark>& marks = at == found_.end() ? NONE : at->second;
  const Guess from = guess(marks, frames, size, start), to = guess(marks, frames, size, stop);
  const double needed = std::max(0.0, to.offset - from.offset);
  const double from_error = uneven_ * from.distance, to_error = uneven_ * to.distance;
  if (from_error + to_error > MOST_ERROR * needed) return false;
  // The frames at both ends begin before and end behind.
  double margin = std::max(from.flac_frame_bytes, to.flac_frame_bytes);
  margin = std::max(margin, needed * 4096 / static_cast<double>(std::max<int64_t>(4096, stop - start)));
  range->begin = std::max<int64_t>(0, static_cast<int64_t>(from.offset - from_error - 1.5 * margin));
  range->end = std::min(size, static_cast<int64_t>(std::ceil(to.offset + to_error + 2.5 * margin)));
  return range->begin < range->end;
}

}  // namespace headrace
