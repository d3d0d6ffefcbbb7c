#include "sources/wav_layout.h"

#include <cstring>

#include "sources/held_bytes.h"

namespace headrace {
namespace {

constexpr uint32_t UNKNOWN_SIZE = 0xFFFFFFFFu;  // in RF64: the size is in the ds64 chunk
constexpr int MOST_CHUNKS = 256;                // before the samples; recorders write about five

uint16_t u16(const unsigned char* p) { return static_cast<uint16_t>(p[0] | p[1] << 8); }
uint32_t u32(const unsigned char* p) {
  return static_cast<uint32_t>(u16(p)) | static_cast<uint32_t>(u16(p + 2)) << 16;
}
uint64_t u64(const unsigned char* p) {
  return static_cast<uint64_t>(u32(p)) | static_cast<uint64_t>(u32(p + 4)) << 32;
}
bool is(const unsigned char* p, const char* name) { return std::memcmp(p, name, 4) == 0; }

// In WAVE_FORMAT_EXTENSIBLE, what follows the two bytes of format tag in the sub-format.
constexpr unsigned char GUID_TAIL[14] = {0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x80,
                                         0x00, 0x00, 0xAA, 0x00, 0x38, 0x9B, 0x71};

bool parse_format(const unsigned char* p, int64_t size, WavLayout* layout) {
  unsigned tag = u16(p);
  layout->extensible = tag == 0xFFFE;
  const unsigned channels = u16(p + 2), block = u16(p + 12), bits = u16(p + 14);
  const uint32_t rate = u32(p + 4);
  if (tag == 0xFFFE) {
    if (size < 40 || u16(p + 16) < 22 || u16(p + 18) != bits ||
        std::memcmp(p + 26, GUID_TAIL, sizeof GUID_TAIL) != 0)
      return false;
    tag = u16(p + 24);
  }
  if (tag == 1 && bits == 8) layout->encoding = WavEncoding::UINT8;
  else if (tag == 1 && bits == 16) layout->encoding = WavEncoding::INT16;
  else if (tag == 1 && bits == 24) layout->encoding = WavEncoding::INT24;
  else if (tag == 1 && bits == 32) layout->encoding = WavEncoding::INT32;
  else if (tag == 3 && bits == 32) layout->encoding = WavEncoding::FLOAT32;
  else if (tag == 3 && bits == 64) layout->encoding = WavEncoding::FLOAT64;
  else return false;
  if (channels < 1 || channels > 1024 || rate < 1 || rate > 0x7FFFFFFF || block != channels * bits / 8)
    return false;
  layout->channels = static_cast<int>(channels);
  layout->sample_rate = static_cast<int>(rate);
  return true;
}

}  // namespace

int bytes_per_encoded_sample(WavEncoding encoding) {
  switch (encoding) {
    case WavEncoding::UINT8: return 1;
    case WavEncoding::INT16: return 2;
    case WavEncoding::INT24: return 3;
    case WavEncoding::FLOAT64: return 8;
    default: return 4;
  }
}

bool parse_wav(const Bytes& bytes, WavLayout* layout) {
  const int64_t file_size = bytes.size();
  unsigned char head[12];
  if (bytes.read(0, head, 12) != 12 || !is(head + 8, "WAVE")) return false;
  const bool rf64 = is(head, "RF64") || is(head, "BW64");
  if (!rf64 && !is(head, "RIFF")) return false;

  bool have_format = false, have_ds64 = false;
  uint64_t long_data = 0;
  int64_t at = 12;
  for (int chunk = 0; chunk < MOST_CHUNKS; ++chunk) {
    unsigned char name[8];
    if (at > file_size - 8 || bytes.read(at, name, 8) != 8) return false;
    at += 8;
    const uint32_t size = u32(name + 4);
    if (is(name, "data")) {
      if (!have_format) return false;
      const uint64_t declared = size == UNKNOWN_SIZE && have_ds64 ? long_data : size;
      const int64_t held = held_bytes(bytes, at, declared, Chunks::RIFF);
      const int64_t frame = int64_t{bytes_per_encoded_sample(layout->encoding)} * layout->channels;
      layout->data_offset = at;
      layout->frames = held / frame;
      layout->rf64 = rf64;
      layout->agrees = static_cast<uint64_t>(held) == declared || is_unknown_size(declared);
      return layout->frames > 0;
    }
    if (size == UNKNOWN_SIZE || static_cast<int64_t>(size) > file_size - at) return false;
    if (is(name, "fmt ") && !have_format) {  // readers that take two take the first
      unsigned char format[40] = {};
      const int64_t some = size < 40 ? size : 40;
      if (size < 16 || bytes.read(at, format, some) != some ||
          !parse_format(format, some, layout))
        return false;
      have_format = true;
    } else if (is(name, "ds64")) {
      unsigned char sizes[24];
      if (!rf64 || have_ds64 || size < 24 || bytes.read(at, sizes, 24) != 24) return false;
      long_data = u64(sizes + 8);
      have_ds64 = true;
    }
    at += static_cast<int64_t>(size) + (size & 1);
  }
  return false;
}

}  // namespace headrace
