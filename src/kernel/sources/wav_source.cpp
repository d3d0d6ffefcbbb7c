#include "sources/wav_source.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "sources/decode_error.h"
#include "sources/place.h"
#include "sources/wav_layout.h"

namespace headrace {
namespace {

class WavSource : public Source {
 public:
  WavSource(std::unique_ptr<Bytes> file, const WavLayout& layout)
      : file_(std::move(file)), layout_(layout) {}

  int64_t read(void* to, int64_t frames) override {
    frames = std::min(frames, layout_.frames - position_);
    const int64_t encoded = bytes_per_encoded_sample(layout_.encoding);
    const int64_t samples = frames * layout_.channels;
    // uint8 becomes int16 and int24 becomes int32, in place: they are read into the end of `to`, and
    // widened from its start.
    const int64_t widened = layout_.encoding == WavEncoding::UINT8   ? 2
                            : layout_.encoding == WavEncoding::INT24 ? 4
                                                                     : encoded;
    unsigned char* raw = static_cast<unsigned char*>(to) + samples * (widened - encoded);
    const int64_t got = file_->read(layout_.data_offset + position_ * layout_.channels * encoded, raw,
                                    samples * encoded);
    failed_ = got < 0;
    const int64_t whole = failed_ ? 0 : got / (layout_.channels * encoded);
    const int64_t count = whole * layout_.channels;
    if (layout_.encoding == WavEncoding::UINT8) {
      int16_t* out = static_cast<int16_t*>(to);
      for (int64_t i = 0; i < count; ++i) out[i] = static_cast<int16_t>((raw[i] - 128) * 256);
    } else if (layout_.encoding == WavEncoding::INT24) {
      int32_t* out = static_cast<int32_t*>(to);
      for (int64_t i = 0; i < count; ++i) {
        const unsigned char* p = raw + 3 * i;
        out[i] = static_cast<int32_t>(static_cast<uint32_t>(p[0]) << 8 |
                                      static_cast<uint32_t>(p[1]) << 16 |
                                      static_cast<uint32_t>(p[2]) << 24);
      }
    }
    position_ += whole;
    return whole;
  }

  void seek(int64_t frame) override { position_ = frame; }
  std::string complaint() override { return failed_ ? in_parentheses(std::strerror(errno)) : ""; }
  bool system_failed() override { return failed_; }

 private:
  std::unique_ptr<Bytes> file_;
  WavLayout layout_;
  int64_t position_ = 0;
  bool failed_ = false;
};

}  // namespace

std::unique_ptr<Source> open_wav(const SourceSpec& spec) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
  return nullptr;
#endif
  auto file = open_bytes(spec.place, spec.file_bytes);
  WavLayout layout;
  const SourceFormat& format = spec.format;
  if (!parse_wav(*file, &layout) || layout.encoding != format.wav_encoding ||
      layout.channels != format.channels || layout.sample_rate != format.sample_rate ||
      layout.frames < spec.frames)
    return nullptr;
  layout.frames = spec.frames;
  return std::make_unique<WavSource>(std::move(file), layout);
}

}  // namespace headrace
