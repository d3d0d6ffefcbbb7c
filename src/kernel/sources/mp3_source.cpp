#include "sources/mp3_source.h"

#include <algorithm>
#include <cstdio>  // SEEK_SET
#include <cstring>

#include "sources/mp3_index.h"

namespace headrace {
namespace {

// Frames decoded and thrown away before the one that is wanted. Two transforms are one frame at high
// sample rates and two at low ones; one more is libmpg123's to do as it likes with.
constexpr int64_t WARM_UP = 3;

// Frames that are decoded from the file's own start, encoder's tag and all; then it is as elsewhere.
constexpr int64_t OPENING = 16;

// Frames that are decoded on the way to one further on, rather than to begin again.
constexpr int64_t NEAR = 16;

// What libsndfile is told of the size of the file it is shown: from it it guesses a length, beyond which
// it does not read. It looks for a tag in the last bytes, which have to be there.
constexpr int64_t SHOWN = int64_t{1} << 40;
constexpr int64_t SHOWN_END = 128;

constexpr int64_t BLOCK = 1 << 15;

// What libsndfile is shown: frames of silence, then the file from one of its frames on. Each frame is
// looked at before it is handed on: where the chain is broken, the file ends.
class Shown {
 public:
  Shown(const Bytes& file, const Mp3Index& index) : file_(file), index_(index) {
    block_.reserve(BLOCK);  // so that nothing is thrown in what libsndfile calls
  }

  // Begin with frame `k` of the file. Returns how many frames of silence come before it. Throws Fault.
  int64_t begin_at(int64_t k) {
    Mp3Frame frame{};
    std::string reservoir;
    for (int64_t point = k / Mp3Index::EVERY;; --point) {
      reservoir.clear();
      walk(point, k, &reservoir, &frame);
      const auto whole = static_cast<int64_t>(reservoir.size());
      if (whole >= frame.reservoir) break;
      if (point == 0) changed();
    }
    reservoir.erase(0, reservoir.size() - static_cast<size_t>(frame.reservoir));
    const int64_t period = frame.samples == 1152 ? 4 : 8;  // 36 or 18 turns of a ring of 16
    const int64_t silent = (k + period - 1) % period + 1;
    like_ = frame;
    head_.clear();
    const std::string empty(reservoir.size(), '\0');
    for (int64_t i = 1; i < silent; ++i) head_ += silent_frame(frame, empty);
    head_ += silent_frame(frame, reservoir);
    at_ = 0;
    return silent;
  }

  bool failed() const { return failed_; }

  // Whether what has been shown ended where a frame should have followed.
  bool broken() const { return broken_; }

  [[noreturn]] static void changed() {
    throw Fault("CHANGED", "the file's frames are not where they were when it was scanned: scan again");
  }

  static Sndfile::Virtual* functions() {
    static Sndfile::Virtual table = {
        [](void*) { return SHOWN; },
        [](int64_t offset, int whence, void* user) {
          int64_t& at = static_cast<Shown*>(user)->at_;
          at = std::max<int64_t>(0, offset + (whence == SEEK_SET ? 0 : whence == SEEK_CUR ? at : SHOWN));
          return at;
        },
        [](void* to, int64_t count, void* user) noexcept {
          return static_cast<Shown*>(user)->read(static_cast<unsigned char*>(to), count);
        },
        [](const void*, int64_t, void*) { return int64_t{0}; },
        [](void* user) { return static_cast<Shown*>(user)->at_; }};
    return &table;
  }

 private:
  int64_t read(unsigned char* to, int64_t count) {
    const int64_t size = static_cast<int64_t>(head_.size());
    int64_t done = 0;
    while (done < count) {
      const unsigned char* from = nullptr;
      int64_t some = count - done;
      if (at_ >= SHOWN - SHOWN_END) {
        some = std::min(some, SHOWN - at_);
        if (some <= 0) break;
        std::memset(to + done, 0, static_cast<size_t>(some));
      } else if (at_ < size) {
        some = std::min(some, size - at_);
        from = reinterpret_cast<const unsigned char*>(head_.data()) + at_;
      } else {
        const int64_t offset = start_ + at_ - size;
        if (offset >= good_ && !extend()) break;
        if (offset < begin_ || offset >= good_) break;
        some = std::min(some, good_ - offset);
        from = block_.data() + (offset - begin_);
      }
      if (from) std::memcpy(to + done, from, static_cast<size_t>(some));
      done += some;
      at_ += some;
    }
    return done;
  }

  // Make block_ the file's bytes from `offset` on, up to `count`.
  void fetch(int64_t offset, int64_t count) {
    count = std::max<int64_t>(0, std::min(count, index_.file_bytes - offset));
    block_.resize(static_cast<size_t>(count));
    const int64_t got = file_.read(offset, block_.data(), count);
    failed_ = got < 0;
    block_.resize(static_cast<size_t>(std::max<int64_t>(0, got)));
    begin_ = offset;
  }

  // Read the frame at `offset`; false if it is not whole in block_.
  bool frame_at(int64_t offset, Mp3Frame* frame) const {
    unsigned char head[MP3_HEAD] = {};
    const int64_t there = begin_ + static_cast<int64_t>(block_.size()) - offset;
    if (there < 4) return false;
    std::memcpy(head, block_.data() + (offset - begin_),
                static_cast<size_t>(std::min<int64_t>(there, MP3_HEAD)));
    return read_mp3_frame(head, frame) && frame->bytes <= there;
  }

  // The next block, as far as its frames follow each other.
  bool extend() {
    const int64_t offset = good_;
    fetch(offset, BLOCK);
    if (offset >= index_.end) {  // what stands behind the last frame, tags or part of a frame
      good_ = offset + static_cast<int64_t>(block_.size());
      return !block_.empty();
    }
    follow();
    broken_ = good_ == offset && !failed_;
    return good_ > offset;
  }

  void follow() {
    Mp3Frame frame{};
    while (good_ < index_.end && frame_at(good_, &frame) && same_stream(like_, frame))
      good_ += frame.bytes;
  }

  // From a point on to frame `k`, with the audio data on the way.
  void walk(int64_t point, int64_t k, std::string* reservoir, Mp3Frame* frame) {
    const auto places = static_cast<int64_t>(index_.points.size());
    const int64_t next = k / Mp3Index::EVERY + 1;
    int64_t offset = index_.points[static_cast<size_t>(point)];
    fetch(offset, (next < places ? index_.points[static_cast<size_t>(next)] : index_.end) - offset);
    for (int64_t n = point * Mp3Index::EVERY;; ++n) {
      if (n % Mp3Index::EVERY == 0 && offset != index_.points[static_cast<size_t>(n / Mp3Index::EVERY)])
        changed();
      Mp3Frame here{};
      if (!frame_at(offset, &here)) {
        if (failed_) throw Fault("IO", "the file cannot be read");
        changed();
      }
      if (n > point * Mp3Index::EVERY && !same_stream(*frame, here)) changed();
      *frame = here;
      if (n == k) break;
      offset += here.bytes;
      const auto* end = reinterpret_cast<const char*>(block_.data()) + (offset - begin_);
      reservoir->append(end - here.main, static_cast<size_t>(here.main));
      if (reservoir->size() > 8 * MP3_RESERVOIR) reservoir->erase(0, reservoir->size() - MP3_RESERVOIR);
    }
    start_ = good_ = offset;
    like_ = *frame;
    broken_ = false;
    follow();
  }

  const Bytes& file_;
  const Mp3Index& index_;
  Mp3Frame like_{};
  std::string head_;
  int64_t start_ = 0;  // the offset in the file that follows head_
  int64_t at_ = 0;     // where libsndfile stands in what it is shown
  std::vector<unsigned char> block_;
  int64_t begin_ = 0;  // block_'s offset in the file
  int64_t good_ = 0;   // the offset up to which frames have been followed
  bool failed_ = false;
  bool broken_ = false;
};

class Mp3Source : public Source {
 public:
  Mp3Source(const Facts& facts, const Sndfile& library, std::unique_ptr<Bytes> file, Mp3Index index)
      : facts_(facts),
        library_(library),
        file_(std::move(file)),
        index_(std::move(index)),
        shown_(*file_, index_),
        samples_(mp3_samples(facts.sample_rate)),
        opening_end_(OPENING * samples_ - index_.skip) {}

  int64_t read(void* to, int64_t frames) override {
    const int64_t bytes = int64_t{sample_bytes(facts_.type)} * facts_.channels;
    int64_t done = 0;
    while (done < frames && place()) {
      int64_t some = frames - done;
      if (opening_) some = std::min(some, opening_end_ - position_);
      const int64_t got = decoder_->read(static_cast<char*>(to) + done * bytes, some);
      position_ += got;
      stands_ += got;
      done += got;
      if (got < some) break;
    }
    if (done < frames && !opening_ && shown_.broken()) Shown::changed();
    return done;
  }

  void seek(int64_t frame) override { position_ = frame; }
  std::string complaint() override { return decoder_ ? decoder_->complaint() : ""; }
  bool system_failed() override {
    return shown_.failed() || (decoder_ && decoder_->system_failed());
  }

 private:
  // Make the decoder stand at position_; false if decoding ends before. Whether it does depends on the
  // file alone: one that stands near may save time, but what lies on its way is not asked for.
  bool place() {
    const bool opening = position_ < opening_end_;
    const bool near = decoder_ && opening == opening_ && position_ >= stands_ &&
                      position_ - stands_ <= NEAR * samples_;
    if (near && advance()) return true;
    if (near && opening) return false;
    begin(opening);
    return advance();
  }

  void begin(bool opening) {
    decoder_.reset();
    opening_ = opening;
    if (opening) {
      // From the file's own start libmpg123 looks for the next frame where there is none.
      shown_.begin_at(OPENING);
      if (!begins_as(*file_, index_, facts_.frames)) Shown::changed();
      decoder_ = open_sndfile(facts_, library_);
      stands_ = 0;
      return;
    }
    // Behind the last frame stands what the decoder may or may not take for another.
    const int64_t frame = std::min((position_ + index_.skip) / samples_, index_.frames - 1);
    const int64_t first = frame - WARM_UP;
    const int64_t silent = shown_.begin_at(first);
    decoder_ = open_virtual(facts_, library_, Shown::functions(), &shown_);
    stands_ = (first - silent) * samples_ - index_.skip;
  }

  // Decode up to position_; false if that ends before.
  bool advance() {
    thrown_away_.resize(static_cast<size_t>(samples_ * facts_.channels * sample_bytes(facts_.type)));
    while (stands_ < position_) {
      const int64_t some = std::min(position_ - stands_, samples_);
      const int64_t got = decoder_->read(thrown_away_.data(), some);
      stands_ += got;
      if (got < some) return false;
    }
    return true;
  }

  const Facts facts_;
  const Sndfile& library_;
  const std::unique_ptr<Bytes> file_;
  const Mp3Index index_;
  Shown shown_;
  const int64_t samples_;      // of one frame
  const int64_t opening_end_;  // where what is decoded from the file's own start ends
  int64_t position_ = 0;       // what is wanted next
  int64_t stands_ = 0;         // what the decoder gives next
  bool opening_ = false;
  std::vector<unsigned char> thrown_away_;
  std::unique_ptr<Source> decoder_;  // goes before what it reads from
};

}  // namespace

std::unique_ptr<Source> open_mp3(const Facts& facts, const Sndfile& library) {
  Mp3Index index;
  if (!unpack(facts.seek_points.data(), facts.seek_points.size(), &index)) return nullptr;
  return open_mp3(facts, library, std::move(index));
}

std::unique_ptr<Source> open_mp3(const Facts& facts, const Sndfile& library, Mp3Index index) {
  auto file = open_bytes(facts.path, facts.bytes);
  if (file->size() != index.file_bytes) return nullptr;  // from its start it can still be decoded
  return std::make_unique<Mp3Source>(facts, library, std::move(file), std::move(index));
}

}  // namespace headrace
