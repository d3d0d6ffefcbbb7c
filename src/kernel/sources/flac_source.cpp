#include "sources/flac_source.h"

#include <algorithm>
#include <string>
#include <utility>

#include "sources/decode_error.h"
#include "sources/flac_file.h"
#include "sources/place.h"

namespace headrace {
namespace {

constexpr int SUBTYPE_MASK = 0xFFFF;  // SF_FORMAT_SUBMASK; of integer PCM its value is the bytes of a sample

class FlacSource : public Source {
 public:
  FlacSource(std::unique_ptr<FlacFile> file, const SourceSpec& spec, const LibsndfileFunctions& library)
      : file_(std::move(file)), spec_(spec), library_(library) {}

  int64_t read(void* to, int64_t frames) override {
    frames = std::min(frames, spec_.frames - position_);
    const int64_t own = fallback_ ? 0 : file_->read(to, frames);
    position_ += own;
    // libsndfile counts from what the header says.
    if (own == frames || !file_->plain()) return own;
    if (!fallback_) {
      fallback_ = open_with_libsndfile(spec_, library_);
      try {
        if (position_ > 0) fallback_->seek(position_);
      } catch (const DecodeError&) {
        return own;
      }
    }
    const int64_t frame_bytes = spec_.format.bytes_per_frame();
    const int64_t rest = frames - own;
    // Of a damaged piece libsndfile does not say which frames are missing.
    if (fallback_->read(static_cast<char*>(to) + own * frame_bytes, rest) < rest) return own;
    position_ += rest;
    return frames;
  }

  // Goes back to the kernel's decoder, so that what follows does not depend on what was read before.
  void seek(int64_t frame) override {
    fallback_.reset();
    file_->seek(frame);
    position_ = frame;
  }
  int64_t resume(int64_t frame) override {
    const int64_t next = file_->next_readable(frame);
    if (next >= 0) seek(next);
    return next;
  }
  void learn(const std::vector<Landmark>& known) override {
    for (const Landmark& one : known) file_->learn(one.first, one.stop, one.offset, one.end);
  }
  void tell(std::vector<Landmark>* found) const override {
    const auto add = [&](int64_t first, int64_t stop, int64_t offset, int64_t end) {
      found->push_back({first, stop, offset, end});
    };
    file_->tell(add);
  }
  std::string complaint() override { return fallback_ ? fallback_->complaint() : ""; }
  bool system_failed() override {
    return fallback_ ? fallback_->system_failed() : file_->system_failed();
  }

 private:
  std::unique_ptr<FlacFile> file_;
  const SourceSpec spec_;
  const LibsndfileFunctions& library_;
  std::unique_ptr<Source> fallback_;  // libsndfile, once the kernel's decoder has met damage
  int64_t position_ = 0;
};

constexpr char END_MARK[] = {'f', 'L', 'a', 'C'};

}  // namespace

std::string pack_flac_end(int64_t end) {
  std::string packed(END_MARK, sizeof END_MARK);
  for (int shift = 0; shift < 64; shift += 8) packed += static_cast<char>(end >> shift & 0xFF);
  return packed;
}

int64_t unpack_flac_end(const std::string& packed) {
  if (packed.size() != sizeof END_MARK + 8 || packed.compare(0, sizeof END_MARK, END_MARK, sizeof END_MARK))
    return 0;
  uint64_t end = 0;
  for (size_t i = 0; i < 8; ++i)
    end |= uint64_t{static_cast<unsigned char>(packed[sizeof END_MARK + i])} << 8 * i;
  return static_cast<int64_t>(end);
}

std::unique_ptr<Source> open_flac(const SourceSpec& spec, const LibsndfileFunctions& library) {
  auto bytes = open_bytes(spec.place, spec.file_bytes);
  const int64_t end = unpack_flac_end(spec.seek_points);
  auto file = FlacFile::open(std::move(bytes), spec.frames, end);
  if (!file) return nullptr;
  const FlacStream& stream = file->stream();
  if ((spec.format.sndfile_format & SUBTYPE_MASK) != stream.bits / 8 ||
      stream.channels != spec.format.channels || stream.sample_rate != spec.format.sample_rate)
    return nullptr;
  return std::make_unique<FlacSource>(std::move(file), spec, library);
}

}  // namespace headrace
