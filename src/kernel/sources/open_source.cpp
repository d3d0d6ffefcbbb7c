#include "sources/open_source.h"

#include <utility>

#include "sources/decode_error.h"
#include "sources/watched_store.h"
#ifndef _WIN32
#include "sources/ffmpeg_source.h"
#include "sources/flac_source.h"
#include "sources/mp3_source.h"
#include "sources/ogg_index.h"
#include "sources/ogg_source.h"
#include "sources/repaired.h"
#include "sources/wav_source.h"
#endif

namespace headrace {
namespace {

std::unique_ptr<Source> open_watched(const SourceSpec& spec, const LibsndfileFunctions& library) {
  const SourceFormat& format = spec.format;
#ifdef _WIN32
  if (!spec.place.is_whole_file())
    throw DecodeError("UNSUPPORTED", "on Windows only whole files are read: unpack it");
#else
  if (has_packet_index(spec) && format.ffmpeg.library) {
    check_file_bytes(spec);
    return spec.seek_points[0] == OggIndex::TAG ? open_ogg(spec) : open_ffmpeg(spec);
  }
#endif
  if (format.opener) {
    if (!spec.place.is_whole_file())
      throw DecodeError("UNSUPPORTED",
                        "this version of PyAV decodes whole files only: unpack it, or install PyAV with FFmpeg 8");
    check_file_bytes(spec);
    return format.opener(spec);
  }
#ifndef _WIN32
  if (format.wav_encoding)
    if (auto source = open_wav(spec)) return source;
  const bool flac = (format.sndfile_format & CONTAINER_MASK) == FLAC_CONTAINER;
  if (flac)
    if (auto source = open_flac(spec, library)) return source;
  if (!flac && !spec.seek_points.empty())
    if (auto source = open_mp3(spec, library)) return source;
  if (auto source = open_repaired(spec, library)) return source;
#endif
  return open_with_libsndfile(spec, library);
}

// A source whose bytes come from a store.
class WatchedSource : public Source {
 public:
  WatchedSource(std::unique_ptr<Source> source, std::shared_ptr<WatchedStore> store)
      : store_(std::move(store)), source_(std::move(source)) {}

  int64_t read(void* to, int64_t frames) override {
    return checked([&] { return source_->read(to, frames); });
  }
  bool seekable() const override { return source_->seekable(); }
  void seek(int64_t frame) override {
    checked([&] {
      source_->seek(frame);
      return 0;
    });
  }
  void learn(const std::vector<Landmark>& known) override { source_->learn(known); }
  void tell(std::vector<Landmark>* found) const override { source_->tell(found); }
  int64_t resume(int64_t frame) override {
    return checked([&] { return source_->resume(frame); });
  }
  std::string complaint() override { return source_->complaint(); }
  bool system_failed() override { return source_->system_failed(); }

 private:
  template <typename Work>
  int64_t checked(Work work) {
    try {
      const int64_t result = work();
      store_->check();
      return result;
    } catch (const DecodeError&) {
      store_->check();
      throw;
    }
  }

  const std::shared_ptr<WatchedStore> store_;
  const std::unique_ptr<Source> source_;
};

}  // namespace

std::unique_ptr<Source> open_source(const SourceSpec& spec, const LibsndfileFunctions& library) {
  if (!spec.place.store) return open_watched(spec, library);
  SourceSpec watched = spec;
  auto store = watch(&watched.place);
  try {
    auto source = open_watched(watched, library);
    store->check();
    return std::make_unique<WatchedSource>(std::move(source), std::move(store));
  } catch (const DecodeError&) {
    store->check();
    throw;
  }
}

}  // namespace headrace
