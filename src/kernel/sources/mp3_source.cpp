#include "sources/mp3_source.h"

#include <algorithm>
#include <cstdio>  // SEEK_SET
#include <cstring>

#include "sources/bytes.h"
#include "sources/decode_error.h"

namespace headrace {
namespace {

// Frames that are decoded and dropped before the wanted one. Two transforms are one frame at 32 kHz and
// above, and two frames below; one frame more is a margin.
constexpr int64_t WARM_UP = 3;

// Frames at the start of the file that are decoded from its first byte, with tags.
constexpr int64_t OPENING = 16;

// To go forward by up to this many frames, decode and drop them; to go further, or back, start again. An
// estimate, not a measurement.
constexpr int64_t NEAR = 16;

// The size of the virtual file, in bytes. libsndfile estimates a length from it and does not read beyond
// that, so it is larger than any file. libsndfile looks for a tag in the last VIRTUAL_TAG bytes, which have
// to be there.
constexpr int64_t VIRTUAL_SIZE = int64_t{1} << 40;
constexpr int64_t VIRTUAL_TAG = 128;

constexpr int64_t BLOCK = 1 << 15;  // bytes read from the file at a time

// The virtual file that libsndfile reads: frames of silence, then the real file from one of its frames on.
// Frames are checked before libsndfile gets them: where one does not follow the one before it, the virtual
// file ends.
class SplicedFile {
 public:
  SplicedFile(const Bytes& file, const Mp3Index& index) : file_(file), index_(index) {
    block_.reserve(BLOCK);  // so that nothing is allocated, and nothing thrown, in calls from libsndfile
  }

  // Begin with frame `k` of the file. Return how many frames of silence come before it. Throws DecodeError.
  int64_t splice_at(int64_t k) {
    Mp3Frame frame{};
    std::string reservoir;
    for (int64_t point = k / Mp3Index::EVERY;; --point) {
      reservoir.clear();
      walk(point, k, &reservoir, &frame);
      const auto whole = static_cast<int64_t>(reservoir.size());
      if (whole >= frame.reservoir) break;
      if (point == 0) throw_changed();
    }
    reservoir.erase(0, reservoir.size() - static_cast<size_t>(frame.reservoir));
    // After so many frames the ring of 16 is where it was.
    const int64_t period = frame.samples == 1152 ? 4 : 8;
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

  // Whether the virtual file ended where another frame should have followed.
  bool broken() const { return broken_; }

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
  int64_t read(unsigned char* to, int64_t count) {
    const int64_t size = static_cast<int64_t>(head_.size());
    int64_t done = 0;
    while (done < count) {
      const unsigned char* from = nullptr;
      int64_t some = count - done;
      if (at_ >= VIRTUAL_SIZE - VIRTUAL_TAG) {
        some = std::min(some, VIRTUAL_SIZE - at_);
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

  // Read up to `count` bytes at `offset` of the real file into block_.
  void fetch(int64_t offset, int64_t count) {
    count = std::max<int64_t>(0, std::min(count, index_.file_bytes - offset));
    block_.resize(static_cast<size_t>(count));
    const int64_t got = file_.read(offset, block_.data(), count);
    failed_ = got < 0;
    block_.resize(static_cast<size_t>(std::max<int64_t>(0, got)));
    begin_ = offset;
  }

  // Read the frame at `offset`. Return false if block_ does not hold all of it.
  bool frame_at(int64_t offset, Mp3Frame* frame) const {
    unsigned char head[MP3_HEAD_BYTES] = {};
    const int64_t there = begin_ + static_cast<int64_t>(block_.size()) - offset;
    if (there < 4) return false;
    std::memcpy(head, block_.data() + (offset - begin_),
                static_cast<size_t>(std::min<int64_t>(there, MP3_HEAD_BYTES)));
    return read_mp3_frame(head, frame) && frame->bytes <= there;
  }

  // Read the next block, and follow its frames. Return whether there is anything more to give.
  bool extend() {
    const int64_t offset = good_;
    fetch(offset, BLOCK);
    if (offset >= index_.end) {  // what follows the last frame: tags, or part of a frame
      good_ = offset + static_cast<int64_t>(block_.size());
      return !block_.empty();
    }
    follow();
    broken_ = good_ == offset && !failed_;
    return good_ > offset;
  }

  // Advance good_ over the frames in block_ that follow each other.
  void follow() {
    Mp3Frame frame{};
    while (good_ < index_.end && frame_at(good_, &frame) && same_stream(like_, frame))
      good_ += frame.bytes;
  }

  // Walk from seek point number `point` to frame `k`, and collect the audio data on the way in `reservoir`.
  void walk(int64_t point, int64_t k, std::string* reservoir, Mp3Frame* frame) {
    const auto places = static_cast<int64_t>(index_.points.size());
    const int64_t next = k / Mp3Index::EVERY + 1;
    int64_t offset = index_.points[static_cast<size_t>(point)];
    fetch(offset, (next < places ? index_.points[static_cast<size_t>(next)] : index_.end) - offset);
    for (int64_t n = point * Mp3Index::EVERY;; ++n) {
      if (n % Mp3Index::EVERY == 0 && offset != index_.points[static_cast<size_t>(n / Mp3Index::EVERY)])
        throw_changed();
      Mp3Frame here{};
      if (!frame_at(offset, &here)) {
        if (failed_) throw DecodeError("IO", "the file cannot be read");
        throw_changed();
      }
      if (n > point * Mp3Index::EVERY && !same_stream(*frame, here)) throw_changed();
      *frame = here;
      if (n == k) break;
      offset += here.bytes;
      const auto* end = reinterpret_cast<const char*>(block_.data()) + (offset - begin_);
      reservoir->append(end - here.data_bytes, static_cast<size_t>(here.data_bytes));
      if (reservoir->size() > 8 * MP3_RESERVOIR_BYTES)
        reservoir->erase(0, reservoir->size() - MP3_RESERVOIR_BYTES);
    }
    start_ = good_ = offset;
    like_ = *frame;
    broken_ = false;
    follow();
  }

  const Bytes& file_;
  const Mp3Index& index_;
  Mp3Frame like_{};
  std::string head_;   // the frames of silence
  int64_t start_ = 0;  // the offset in the real file of what follows head_
  int64_t at_ = 0;     // libsndfile's position in the virtual file
  std::vector<unsigned char> block_;
  int64_t begin_ = 0;  // block_'s offset in the real file
  int64_t good_ = 0;   // the offset up to which frames have been checked
  bool failed_ = false;
  bool broken_ = false;
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
        samples_(mp3_frame_samples(spec.format.sample_rate)),
        opening_end_(OPENING * samples_ - index_.skip) {}

  int64_t read(void* to, int64_t frames) override {
    const int64_t bytes = spec_.format.bytes_per_frame();
    int64_t done = 0;
    while (done < frames && prepare()) {
      int64_t some = frames - done;
      if (opening_) some = std::min(some, opening_end_ - position_);
      const int64_t got = decoder_->read(static_cast<char*>(to) + done * bytes, some);
      position_ += got;
      decoder_position_ += got;
      done += got;
      if (got < some) break;
    }
    if (done < frames && !opening_ && spliced_.broken()) SplicedFile::throw_changed();
    return done;
  }

  void seek(int64_t frame) override { position_ = frame; }
  std::string complaint() override { return decoder_ ? decoder_->complaint() : ""; }
  bool system_failed() override {
    return spliced_.failed() || (decoder_ && decoder_->system_failed());
  }

 private:
  // Bring the decoder to position_. Return false if decoding ends before it. Whether it does depends on the
  // file alone: if a decoder that is near cannot get there, a new one is started at position_.
  bool prepare() {
    const bool opening = position_ < opening_end_;
    const bool near = decoder_ && opening == opening_ && position_ >= decoder_position_ &&
                      position_ - decoder_position_ <= NEAR * samples_;
    if (near && advance()) return true;
    if (near && opening) return false;
    begin(opening);
    return advance();
  }

  void begin(bool opening) {
    decoder_.reset();
    opening_ = opening;
    if (opening) {
      // libmpg123 would skip damage in the opening and give other frames. So the opening's end and the
      // file's start have to be where the index has them.
      spliced_.splice_at(OPENING);
      if (!start_matches(*file_, index_, spec_.frames)) SplicedFile::throw_changed();
      decoder_ = open_with_libsndfile(spec_, library_);
      decoder_position_ = 0;
      return;
    }
    // What follows the last frame may be taken for another frame by the decoder: begin at the last one at
    // most.
    const int64_t frame = std::min((position_ + index_.skip) / samples_, index_.frames - 1);
    const int64_t first = frame - WARM_UP;
    const int64_t silent = spliced_.splice_at(first);
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
  const int64_t samples_;      // in one frame
  const int64_t opening_end_;  // the end of what is decoded from the file's first byte
  int64_t position_ = 0;       // the sample that the caller wants next
  int64_t decoder_position_ = 0;  // the sample that the decoder gives next
  bool opening_ = false;          // whether the decoder began at the file's first byte
  std::vector<unsigned char> dropped_;
  std::unique_ptr<Source> decoder_;  // last, so that it is destroyed before what it reads from
};

}  // namespace

std::unique_ptr<Source> open_mp3(const SourceSpec& spec, const LibsndfileFunctions& library) {
  Mp3Index index;
  if (!unpack(spec.seek_points.data(), spec.seek_points.size(), &index)) return nullptr;
  return open_mp3(spec, library, std::move(index));
}

std::unique_ptr<Source> open_mp3(const SourceSpec& spec, const LibsndfileFunctions& library, Mp3Index index) {
  auto file = open_bytes(spec.path, spec.file_bytes);
  if (file->size() != index.file_bytes) return nullptr;  // from its start it can still be decoded
  return std::make_unique<Mp3Source>(spec, library, std::move(file), std::move(index));
}

}  // namespace headrace
