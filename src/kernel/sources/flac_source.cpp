#include "sources/flac_source.h"

#include <algorithm>
#include <string>
#include <utility>

#include "sources/bytes.h"
#include "sources/flac_file.h"

namespace headrace {
namespace {

constexpr int SUBTYPE_MASK = 0xFFFF;  // SF_FORMAT_SUBMASK; of integer PCM its value is the bytes of a sample

class FlacSource : public Source {
 public:
  FlacSource(std::unique_ptr<FlacFile> file, const SourceSpec& spec, const LibsndfileFunctions& library)
      : file_(std::move(file)), spec_(spec), library_(library) {}

  int64_t read(void* to, int64_t frames) override {
    if (!fallback_) {
      frames = std::min(frames, spec_.frames - position_);
      if (file_->read(to, frames) == frames) {
        position_ += frames;
        return frames;
      }
      fallback_ = open_with_libsndfile(spec_, library_);
      if (position_ > 0) fallback_->seek(position_);
    }
    return fallback_->read(to, frames);
  }

  // Goes back to the kernel's decoder, so that what follows does not depend on what was read before.
  void seek(int64_t frame) override {
    fallback_.reset();
    file_->seek(frame);
    position_ = frame;
  }
  std::string complaint() override { return fallback_ ? fallback_->complaint() : ""; }
  bool system_failed() override { return fallback_ && fallback_->system_failed(); }

 private:
  std::unique_ptr<FlacFile> file_;
  const SourceSpec spec_;
  const LibsndfileFunctions& library_;
  std::unique_ptr<Source> fallback_;  // libsndfile, once the kernel's decoder has met damage
  int64_t position_ = 0;              // of `file_`, as long as there is no fallback
};

}  // namespace

std::unique_ptr<Source> open_flac(const SourceSpec& spec, const LibsndfileFunctions& library) {
  auto file = FlacFile::open(open_bytes(spec.path, spec.file_bytes));
  if (!file) return nullptr;
  const FlacStream& stream = file->stream();
  if ((spec.format.sndfile_format & SUBTYPE_MASK) != stream.bits / 8 ||
      stream.channels != spec.format.channels || stream.sample_rate != spec.format.sample_rate ||
      stream.frames != spec.frames)
    return nullptr;
  return std::make_unique<FlacSource>(std::move(file), spec, library);
}

}  // namespace headrace
