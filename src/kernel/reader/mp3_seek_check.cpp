#include "reader/mp3_seek_check.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "sources/mp3_source.h"

namespace headrace {
namespace {

constexpr int64_t APART = 64;       // frames between two places that are compared in any case
constexpr int64_t COMPARED = 2;     // frames that are compared at each
constexpr int64_t BEFORE = 1;       // frames before one that ends in zeros, and behind it, from each of
constexpr int64_t BEHIND = 6;       // which on is compared
constexpr int64_t KEPT = BEFORE + BEHIND + COMPARED + 2;  // frames that have to be at hand for that
constexpr int64_t GRANULE = 576;    // samples

}  // namespace

Mp3Check::Mp3Check(const Facts& facts, const Sndfile& library)
    : facts_(facts),
      library_(library),
      frame_bytes_(int64_t{sample_bytes(facts.type)} * facts.channels),
      samples_(mp3_samples(facts.sample_rate)) {
  exact_ = unpack(facts.seek_points.data(), facts.seek_points.size(), &index_);
}

void Mp3Check::look(const void* pcm, int64_t begin, int64_t count, bool last) {
  if (!exact_) return;
  const int64_t held = static_cast<int64_t>(kept_.size()) / frame_bytes_;
  const int64_t drop = std::max<int64_t>(0, held - KEPT * samples_);
  kept_.erase(kept_.begin(), kept_.begin() + drop * frame_bytes_);
  kept_begin_ = begin - (held - drop);
  const char* from = static_cast<const char*>(pcm);
  kept_.insert(kept_.end(), from, from + count * frame_bytes_);
  find_zeros(begin, count);
  const int64_t end = begin + count, some = COMPARED * samples_;
  for (; exact_ && (next_ + some <= end || (last && next_ < end)); next_ += APART * samples_)
    compare(next_, std::min(some, end - next_));
  for (; exact_ && !wanted_.empty() && (wanted_.front() + some <= end || last); wanted_.pop_front())
    compare(wanted_.front(), std::min(some, end - wanted_.front()));
}

// Note the places around each granule of zeros that others do not precede.
void Mp3Check::find_zeros(int64_t begin, int64_t count) {
  // Granules that end in this piece; those that began in the last one are at hand, too.
  const int64_t first = (begin + index_.skip) / GRANULE * GRANULE - index_.skip;
  for (int64_t at = first; at + GRANULE <= begin + count; at += GRANULE) {
    if (at < kept_begin_) continue;
    const char* granule = kept_.data() + (at - kept_begin_) * frame_bytes_;
    const bool zeros = std::all_of(granule, granule + GRANULE * frame_bytes_,
                                   [](char byte) { return byte == 0; });
    if (zeros && !silent_) {
      const int64_t frame = (at + index_.skip) / samples_;
      for (int64_t n = frame - BEFORE; n <= frame + BEHIND; ++n) {
        const int64_t start = n * samples_ - index_.skip;
        if (start >= kept_begin_ && (wanted_.empty() || start > wanted_.back()))
          wanted_.push_back(start);
      }
    }
    silent_ = zeros;
  }
}

void Mp3Check::compare(int64_t start, int64_t count) {
  if (start < kept_begin_ || count <= 0) return;
  try {
    const std::unique_ptr<Source> source = open_mp3(facts_, library_, index_);
    if (!source) throw Fault("CHANGED", "the file has another size");
    source->seek(start);
    std::vector<double> pcm(static_cast<size_t>((count * frame_bytes_ + 7) / 8));
    const int64_t got = source->read(pcm.data(), count);
    if (source->system_failed()) throw Fault("IO", "the file cannot be read");
    exact_ = got == count && std::memcmp(pcm.data(),
                                         kept_.data() + (start - kept_begin_) * frame_bytes_,
                                         static_cast<size_t>(count * frame_bytes_)) == 0;
  } catch (const Fault& fault) {
    if (fault.code == "IO" || fault.code == "MISSING" || fault.code == "PERMISSION") throw;
    exact_ = false;  // decoding in one go could
  }
}

}  // namespace headrace
