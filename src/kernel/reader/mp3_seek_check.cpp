#include "reader/mp3_seek_check.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "sources/decode_error.h"
#include "sources/mp3_source.h"

namespace headrace {
namespace {

// In MP3 frames. Of 800 files with noise inside, these found all 35 whose windows were not exact
// (docs/codecs.md).
constexpr int64_t DISTANCE = 64;  // between two of the evenly spaced places
constexpr int64_t COMPARED = 2;   // compared at each place
constexpr int64_t BEFORE = 1;     // compared before a frame in which zeros begin
constexpr int64_t AFTER = 6;      // compared after it
constexpr int64_t HIDDEN = 2;     // the first frames, in which zeros cannot be seen
constexpr int64_t KEPT = BEFORE + AFTER + COMPARED + 2;  // kept in memory for that

constexpr int64_t GRANULE = 576;  // samples that are transformed together

}  // namespace

Mp3SeekCheck::Mp3SeekCheck(const SourceSpec& spec, const LibsndfileFunctions& library)
    : spec_(spec),
      library_(library),
      frame_bytes_(spec.format.bytes_per_frame()) {
  exact_ = unpack_mp3(spec, &index_);
  samples_ = index_.samples;
  // Zeros in the first frames cannot be seen: these are not delivered, or begin with zeros anyway.
  for (int64_t n = 0; exact_ && n <= HIDDEN + AFTER; ++n)
    if (n * samples_ > index_.skip) around_zeros_.push_back(n * samples_ - index_.skip);
}

void Mp3SeekCheck::add(const void* pcm, int64_t begin, int64_t count, bool last) {
  if (!exact_ || !index_.random_access) return;
  const int64_t held = static_cast<int64_t>(kept_.size()) / frame_bytes_;
  const int64_t drop = std::max<int64_t>(0, held - KEPT * samples_);
  kept_.erase(kept_.begin(), kept_.begin() + drop * frame_bytes_);
  kept_begin_ = begin - (held - drop);
  const char* from = static_cast<const char*>(pcm);
  kept_.insert(kept_.end(), from, from + count * frame_bytes_);
  find_zeros(begin, count);
  const int64_t end = begin + count, some = COMPARED * samples_;
  for (; exact_ && (next_ + some <= end || (last && next_ < end)); next_ += DISTANCE * samples_)
    compare(next_, std::min(some, end - next_));
  while (exact_ && !around_zeros_.empty() && (around_zeros_.front() + some <= end || last)) {
    compare(around_zeros_.front(), std::min(some, end - around_zeros_.front()));
    around_zeros_.pop_front();
  }
}

// Note the places around each granule of zeros that follows one that is not all zeros.
void Mp3SeekCheck::find_zeros(int64_t begin, int64_t count) {
  // All granules that end in this piece. One that began in the piece before is still in kept_.
  const int64_t first = (begin + index_.skip) / GRANULE * GRANULE - index_.skip;
  for (int64_t at = first; at + GRANULE <= begin + count; at += GRANULE) {
    if (at < kept_begin_) continue;
    const char* granule = kept_.data() + (at - kept_begin_) * frame_bytes_;
    const bool zeros = std::all_of(granule, granule + GRANULE * frame_bytes_,
                                   [](char byte) { return byte == 0; });
    if (zeros && !zeros_before_) {
      const int64_t frame = (at + index_.skip) / samples_;
      for (int64_t n = frame - BEFORE; n <= frame + AFTER; ++n) {
        const int64_t start = n * samples_ - index_.skip;
        if (start >= kept_begin_ && (around_zeros_.empty() || start > around_zeros_.back()))
          around_zeros_.push_back(start);
      }
    }
    zeros_before_ = zeros;
  }
}

void Mp3SeekCheck::compare(int64_t start, int64_t count) {
  if (start < kept_begin_ || count <= 0) return;
  try {
    const std::unique_ptr<Source> source = open_mp3(spec_, library_, index_);
    if (!source) throw DecodeError("CHANGED", "the file has another size");
    source->seek(start);
    std::vector<double> pcm(static_cast<size_t>((count * frame_bytes_ + 7) / 8));
    const int64_t got = source->read(pcm.data(), count);
    if (source->system_failed()) throw DecodeError("IO", "the file cannot be read");
    exact_ = got == count && std::memcmp(pcm.data(),
                                         kept_.data() + (start - kept_begin_) * frame_bytes_,
                                         static_cast<size_t>(count * frame_bytes_)) == 0;
  } catch (const DecodeError& error) {
    if (error.code == "IO" || error.code == "MISSING" || error.code == "PERMISSION") throw;
    exact_ = false;  // decoding in one go had no error here
  }
}

}  // namespace headrace
