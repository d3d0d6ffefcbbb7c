#include "sources/mp3_source.h"

#include <algorithm>
#include <cstdio>  // SEEK_SET
#include <cstring>

#include "sources/decode_error.h"
#include "sources/place.h"

namespace headrace {
namespace {

// Frames that are decoded and dropped before the wanted one. Two transforms are one frame at 32 kHz and
// above, and two frames below; one frame more is a margin.
constexpr int64_t WARM_UP = 3;

// To go forward by up to this many frames, decode and drop them; to go further, or back, start again. An
// estimate, not a measurement.
constexpr int64_t NEAR = 16;

// The size of the virtual file, in bytes. libsndfile estimates a length from it and does not read beyond
// that, so it is larger than any file. libsndfile looks for a tag in the last VIRTUAL_TAG bytes, which have
// to be there.
constexpr int64_t VIRTUAL_SIZE = int64_t{1} << 40;
constexpr int64_t VIRTUAL_TAG = 128;

constexpr int64_t BLOCK = 1 << 15;   // bytes read from the file at a time
constexpr size_t LARGEST = 1 << 12;  // bytes: more than the largest frame has

// Follows an index from one of its points on, and reads frame by frame. Each frame is compared with the index:
// where it does not agree, the frames end.
class IndexedFrames {
 public:
  IndexedFrames(const Bytes& file, const Mp3Index& index) : file_(file), index_(index) {
    block_.reserve(BLOCK);  // so that nothing is allocated, and nothing thrown, in calls from libsndfile
    changed_.reserve(LARGEST);
  }

  // Begin with the first frame behind point number `point`.
  void start_at(int64_t point) {
    number_ = point * Mp3Index::EVERY;
    offset_ = index_.points[static_cast<size_t>(point)];
    broken_ = false;
    like_.bytes = 0;
    const auto at = std::lower_bound(index_.breaks.begin(), index_.breaks.end(), number_,
                                     [](const Mp3Break& one, int64_t frame) { return one.frame < frame; });
    break_ = static_cast<size_t>(at - index_.breaks.begin());
    // The point is behind the gap.
    gap_done_ = true;
  }

  // Read the next frame. Return false if there is none: at the end, or if it is another than the index says.
  bool next(Mp3Frame* frame) {
    if (number_ == index_.frames || broken_ || failed_) return false;
    const Mp3Break* here =
        break_ < index_.breaks.size() && index_.breaks[break_].frame == number_ ? &index_.breaks[break_] : nullptr;
    if (here && !gap_done_) offset_ += here->gap;
    gap_done_ = false;
    broken_ = !read(frame) || (like_.bytes && !same_stream(like_, *frame)) ||
              frame->samples != index_.samples || (number_ % Mp3Index::EVERY == 0 &&
                               offset_ != index_.points[static_cast<size_t>(number_ / Mp3Index::EVERY)]);
    if (broken_) {
      broken_ = !failed_;
      return false;
    }
    like_ = *frame;
    bytes_ = block_.data() + (offset_ - begin_);
    if (here && here->silence >= 0) {
      changed_.assign(bytes_, bytes_ + frame->bytes);
      if (frame->layer == 3) silence_frame(*frame, here->silence, changed_.data());
      frame->reservoir = static_cast<int>(here->silence);
      bytes_ = changed_.data();
    } else if (!frame->valid_side) {
      broken_ = true;
      return false;
    }
    if (here) ++break_;
    offset_ += frame->bytes;
    ++number_;
    return true;
  }

  int64_t number() const { return number_; }             // of the frame after the last one read
  const unsigned char* bytes() const { return bytes_; }  // the last frame read
  bool failed() const { return failed_; }                // the file could not be read
  bool broken() const { return broken_; }                // a frame was another than the index says

 private:
  // Read the frame at offset_, whole.
  bool read(Mp3Frame* frame) {
    unsigned char head[MP3_HEAD_BYTES] = {};
    if (!hold(MP3_HEAD_BYTES) && !hold(4)) return false;
    const int64_t there = begin_ + static_cast<int64_t>(block_.size()) - offset_;
    std::memcpy(head, block_.data() + (offset_ - begin_),
                static_cast<size_t>(std::min<int64_t>(there, MP3_HEAD_BYTES)));
    return read_mp3_frame(head, frame) && offset_ + frame->bytes <= index_.end && hold(frame->bytes);
  }

  // Have the `count` bytes at offset_ in block_. Return false if the file ends before.
  bool hold(int64_t count) {
    if (offset_ >= begin_ && offset_ + count <= begin_ + static_cast<int64_t>(block_.size())) return true;
    const int64_t most = std::max(count, file_.at_hand(offset_, BLOCK));
    const int64_t wanted = std::max<int64_t>(0, std::min({BLOCK, most, index_.file_bytes - offset_}));
    block_.resize(static_cast<size_t>(wanted));
    const int64_t got = file_.read(offset_, block_.data(), wanted);
    failed_ = failed_ || got < 0;
    block_.resize(static_cast<size_t>(std::max<int64_t>(0, got)));
    begin_ = offset_;
    return static_cast<int64_t>(block_.size()) >= count;
  }

  const Bytes& file_;
  const Mp3Index& index_;
  int64_t number_ = 0, offset_ = 0;  // of the next frame
  Mp3Frame like_{};                  // the last frame, if it has any bytes
  size_t break_ = 0;                 // the first of the index's breaks at that frame or after it
  bool gap_done_ = false;            // whether offset_ is already behind that break's gap
  std::vector<unsigned char> block_;
  int64_t begin_ = 0;                  // block_'s offset in the file
  const unsigned char* bytes_ = nullptr;
  std::vector<unsigned char> changed_;  // a frame that is not given as it stands in the file
  bool failed_ = false, broken_ = false;
};

// The virtual file that libsndfile reads: frames of silence, then the recording's frames from one of them on.
class SplicedFile {
 public:
  SplicedFile(const Bytes& file, const Mp3Index& index) : frames_(file, index) {}

  // Begin with frame `k` of the recording. Return how many frames of silence come before it. Throws DecodeError.
  int64_t splice_at(int64_t k) {
    Mp3Frame frame{};
    std::string reservoir;
    for (int64_t point = k / Mp3Index::EVERY;; --point) {
      reservoir.clear();
      walk(point, k, &reservoir, &frame);
      if (static_cast<int64_t>(reservoir.size()) >= frame.reservoir) break;
      if (point == 0) throw_changed();
    }
    reservoir.erase(0, reservoir.size() - static_cast<size_t>(frame.reservoir));
    // After so many frames the ring of 16 is where it was.
    const int64_t period = frame.samples == 576 ? 8 : 4;
    const int64_t silent = (k + period - 1) % period + 1;
    head_.clear();
    const std::string empty(reservoir.size(), '\0');
    for (int64_t i = 1; i < silent; ++i) head_ += silent_frame(frame, empty);
    head_ += silent_frame(frame, reservoir);
    first_ = k;
    at_ = 0;
    piece_begin_ = static_cast<int64_t>(head_.size());
    piece_bytes_ = frame.bytes;
    return silent;
  }

  bool failed() const { return frames_.failed(); }

  // Whether the virtual file ended where another frame should have followed.
  bool broken() const { return frames_.broken(); }

  [[noreturn]] static void throw_changed() {
    throw DecodeError("CHANGED",
                      "the file's frames are not where they were when it was scanned: scan again");
  }

  static LibsndfileFunctions::VirtualFile* functions() {
    static LibsndfileFunctions::VirtualFile table = {
        [](void*) { return VIRTUAL_SIZE; },
        [](int64_t offset, int whence, void* user) {
          int64_t& at = static_cast<SplicedFile*>(user)->at_;
          const int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? at : VIRTUAL_SIZE;
          at = std::max<int64_t>(0, offset + base);
          return at;
        },
        [](void* to, int64_t count, void* user) noexcept {
          return static_cast<SplicedFile*>(user)->read(static_cast<unsigned char*>(to), count);
        },
        [](const void*, int64_t, void*) { return int64_t{0}; },
        [](void* user) { return static_cast<SplicedFile*>(user)->at_; }};
    return &table;
  }

 private:
  int64_t read(unsigned char* to, int64_t count) noexcept {
    const auto head = static_cast<int64_t>(head_.size());
    int64_t done = 0;
    while (done < count) {
      int64_t some = count - done;
      if (at_ >= VIRTUAL_SIZE - VIRTUAL_TAG) {
        some = std::min(some, VIRTUAL_SIZE - at_);
        if (some <= 0) break;
        std::memset(to + done, 0, static_cast<size_t>(some));
      } else if (at_ < head) {
        some = std::min(some, head - at_);
        std::memcpy(to + done, head_.data() + at_, static_cast<size_t>(some));
      } else {
        if (!find_piece()) break;
        some = std::min(some, piece_begin_ + piece_bytes_ - at_);
        std::memcpy(to + done, frames_.bytes() + (at_ - piece_begin_), static_cast<size_t>(some));
      }
      done += some;
      at_ += some;
    }
    return done;
  }

  // Have the frame at at_ in frames_. Return false if the frames end before it.
  bool find_piece() {
    Mp3Frame frame{};
    if (at_ < piece_begin_) {  // libsndfile goes back in what it has read
      frames_.start_at(first_ / Mp3Index::EVERY);
      while (frames_.number() <= first_)
        if (!frames_.next(&frame)) return false;
      piece_begin_ = static_cast<int64_t>(head_.size());
      piece_bytes_ = frame.bytes;
    }
    while (at_ >= piece_begin_ + piece_bytes_) {
      if (!frames_.next(&frame)) return false;
      piece_begin_ += piece_bytes_;
      piece_bytes_ = frame.bytes;
    }
    return true;
  }

  // Read from seek point number `point` to frame `k`, and collect the audio data on the way in `reservoir`.
  void walk(int64_t point, int64_t k, std::string* reservoir, Mp3Frame* frame) {
    frames_.start_at(point);
    while (true) {
      if (!frames_.next(frame)) {
        if (frames_.failed()) throw DecodeError("IO", "the file cannot be read");
        throw_changed();
      }
      if (frames_.number() == k + 1) return;
      const auto* end = reinterpret_cast<const char*>(frames_.bytes()) + frame->bytes;
      if (frame->layer == 3) reservoir->append(end - frame->data_bytes, static_cast<size_t>(frame->data_bytes));
      if (reservoir->size() > 8 * MP3_RESERVOIR_BYTES)
        reservoir->erase(0, reservoir->size() - MP3_RESERVOIR_BYTES);
    }
  }

  IndexedFrames frames_;
  std::string head_;         // the frames of silence
  int64_t first_ = 0;        // the number of the frame after them
  int64_t at_ = 0;           // libsndfile's position in the virtual file
  int64_t piece_begin_ = 0;  // where the frame that frames_ holds begins in the virtual file
  int64_t piece_bytes_ = 0;  // its size
};

class Mp3Source : public Source {
 public:
  Mp3Source(const SourceSpec& spec, const LibsndfileFunctions& library, std::unique_ptr<Bytes> file,
            Mp3Index index)
      : spec_(spec),
        library_(library),
        file_(std::move(file)),
        index_(std::move(index)),
        spliced_(*file_, index_),
        samples_(index_.samples) {}

  int64_t read(void* to, int64_t frames) override {
    const int64_t got = frames > 0 && prepare() ? decoder_->read(to, frames) : 0;
    position_ += got;
    decoder_position_ += got;
    if (got < frames && spliced_.broken()) SplicedFile::throw_changed();
    return got;
  }

  bool seekable() const override { return index_.random_access; }
  void seek(int64_t frame) override { position_ = frame; }
  std::string complaint() override { return decoder_ ? decoder_->complaint() : ""; }
  bool system_failed() override {
    return spliced_.failed() || (decoder_ && decoder_->system_failed());
  }

 private:
  // Bring the decoder to position_. Return false if decoding ends before it. Whether it does depends on the
  // file alone: if a decoder that is near cannot get there, a new one is started at position_.
  bool prepare() {
    const bool near = decoder_ && position_ >= decoder_position_ &&
                      position_ - decoder_position_ <= NEAR * samples_;
    if (near && advance()) return true;
    begin();
    return advance();
  }

  void begin() {
    decoder_.reset();
    // What follows the last frame may be asked for: begin at the last one at most.
    const int64_t frame = std::min((position_ + index_.skip) / samples_, index_.frames - 1);
    const int64_t first = index_.random_access ? std::max<int64_t>(0, frame - WARM_UP) : 0;
    const int64_t silent = spliced_.splice_at(first);
    if (first == 0 && !start_matches(*file_, index_)) SplicedFile::throw_changed();
    decoder_ = open_with_libsndfile(spec_, library_, SplicedFile::functions(), &spliced_);
    decoder_position_ = (first - silent) * samples_ - index_.skip;
  }

  // Decode up to position_. Return false if decoding ends before.
  bool advance() {
    dropped_.resize(static_cast<size_t>(samples_ * spec_.format.bytes_per_frame()));
    while (decoder_position_ < position_) {
      const int64_t some = std::min(position_ - decoder_position_, samples_);
      const int64_t got = decoder_->read(dropped_.data(), some);
      decoder_position_ += got;
      if (got < some) return false;
    }
    return true;
  }

  const SourceSpec spec_;
  const LibsndfileFunctions& library_;
  const std::unique_ptr<Bytes> file_;
  const Mp3Index index_;
  SplicedFile spliced_;
  const int64_t samples_;         // in one frame
  int64_t position_ = 0;          // the sample that the caller wants next
  int64_t decoder_position_ = 0;  // the sample that the decoder gives next
  std::vector<unsigned char> dropped_;
  std::unique_ptr<Source> decoder_;  // last, so that it is destroyed before what it reads from
};

// Return whether a file that was scanned just now is of this format.
bool has_format(const Mp3Scan& scan, const SourceFormat& format) {
  return scan.sample_rate == format.sample_rate && scan.channels == format.channels;
}

}  // namespace

bool unpack_mp3(const SourceSpec& spec, Mp3Index* index) {
  if (!unpack(spec.seek_points.data(), spec.seek_points.size(), index)) return false;
  // An index of an earlier version is of layer III.
  if (!index->samples) index->samples = spec.format.sample_rate < 32000 ? 576 : 1152;
  return true;
}

std::unique_ptr<Source> open_mp3(const SourceSpec& spec, const LibsndfileFunctions& library) {
  Mp3Index index;
  if (!unpack_mp3(spec, &index)) return nullptr;
  return open_mp3(spec, library, std::move(index));
}

std::unique_ptr<Source> open_mp3(const SourceSpec& spec, const LibsndfileFunctions& library, Mp3Index index) {
  auto file = open_bytes(spec.place, spec.file_bytes);
  if (file->size() != index.file_bytes) {  // it has grown, or is another one: decode it as it is now
    Mp3Scan scan;
    if (!scan_mp3(*file, &scan) || !scan.index.frames || !has_format(scan, spec.format)) return nullptr;
    index = std::move(scan.index);
  }
  return std::make_unique<Mp3Source>(spec, library, std::move(file), std::move(index));
}

}  // namespace headrace
