#include "sources/repaired.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "sources/held_bytes.h"
#include "sources/open_lock.h"
#include "sources/place.h"

namespace headrace {
namespace {

constexpr int READ_MODE = 0x10;  // SFM_READ
constexpr int MOST_CHUNKS = 256;
constexpr int64_t MOST_BYTES = 0xFFFFFFFF;  // that a size of 32 bits can declare

constexpr int WAV = 0x010000, AIFF = 0x020000, AU = 0x030000, WAVEX = 0x130000, CAF = 0x180000;  // SF_FORMAT_*

std::string big_endian(int64_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> 8 * i & 0xFF);
  return text;
}

// A size of 32 bits in a RIFF file, or in a RIFX file, which is big-endian.
std::string riff_size(int64_t value, bool big) {
  std::string text = big_endian(std::min(value, MOST_BYTES), 4);
  if (!big) std::reverse(text.begin(), text.end());
  return text;
}

int64_t number(const unsigned char* p, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | p[i];
  return static_cast<int64_t>(value);
}

bool is(const unsigned char* p, const char* name) { return std::memcmp(p, name, 4) == 0; }

std::vector<Patch> repair_au(const Bytes& bytes) {
  unsigned char head[24];
  if (bytes.read(0, head, 24) != 24) return {};
  const int64_t at = number(head + 4, 4), declared = number(head + 8, 4);
  if (at < 24 || at >= bytes.size() || is_unknown_size(static_cast<uint64_t>(declared)) ||
      held_bytes(bytes, at, static_cast<uint64_t>(declared), Chunks::NONE) <= declared)
    return {};
  return {{8, big_endian(MOST_BYTES, 4)}};  // which means all there are
}

// The samples of one that was cut short are what libsndfile finds; of one that declares too few, it finds those.
std::vector<Patch> repair_caf(const Bytes& bytes) {
  int64_t at = 8;
  bool plain = false;
  for (int chunk = 0; chunk < MOST_CHUNKS; ++chunk) {
    unsigned char head[12], format[12];
    if (bytes.read(at, head, 12) != 12) return {};
    const int64_t size = number(head + 4, 8);
    at += 12;
    if (is(head, "desc")) {
      if (bytes.read(at, format, 12) != 12) return {};
      plain = is(format + 8, "lpcm") || is(format + 8, "ulaw") || is(format + 8, "alaw");
    } else if (is(head, "data")) {
      if (!plain || at + 4 >= bytes.size()) return {};
      const int64_t held = held_bytes(bytes, at, static_cast<uint64_t>(size), Chunks::CAF);
      if (size >= 0 && held <= size) return {};
      return {{at - 8, big_endian(held, 8)}};
    }
    if (size < 0 || size > bytes.size() - at) return {};
    at += size;
  }
  return {};
}

std::vector<Patch> repair_aiff(const Bytes& bytes) {
  int64_t at = 12, frames_at = 0, frame_bits = 0;
  for (int chunk = 0; chunk < MOST_CHUNKS; ++chunk) {
    unsigned char head[8], format[8];
    if (bytes.read(at, head, 8) != 8) return {};
    const int64_t size = number(head + 4, 4);
    at += 8;
    if (is(head, "COMM")) {
      if (bytes.read(at, format, 8) != 8) return {};
      frames_at = at + 2;
      frame_bits = number(format, 2) * ((number(format + 6, 2) + 7) / 8 * 8);
    } else if (is(head, "SSND")) {
      if (frame_bits == 0 || bytes.size() - at <= 8) return {};
      const int64_t held = held_bytes(bytes, at, static_cast<uint64_t>(size), Chunks::IFF);
      if (held <= size || held > MOST_BYTES) return {};
      return {{4, big_endian(std::min(bytes.size() - 8, MOST_BYTES), 4)},
              {frames_at, big_endian((held - 8) * 8 / frame_bits, 4)},
              {at - 4, big_endian(held, 4)}};
    }
    at += size + (size & 1);
  }
  return {};
}

std::vector<Patch> repair_wav(const Bytes& bytes, bool big) {
  int64_t at = 12;
  for (int chunk = 0; chunk < MOST_CHUNKS; ++chunk) {
    unsigned char head[8];
    if (bytes.read(at, head, 8) != 8) return {};
    if (!big) std::reverse(head + 4, head + 8);
    const int64_t size = number(head + 4, 4);
    at += 8;
    if (is(head, "data")) {
      const Chunks chunks = big ? Chunks::IFF : Chunks::RIFF;
      const int64_t held = held_bytes(bytes, at, static_cast<uint64_t>(size), chunks);
      if (held <= size || held > MOST_BYTES) return {};
      return {{4, riff_size(bytes.size() - 8, big)}, {at - 4, riff_size(held, big)}};
    }
    at += size + (size & 1);
  }
  return {};
}

// What has to be changed so that the header declares all the samples that there are. Nothing if it does so.
std::vector<Patch> repair(const Bytes& bytes) {
  unsigned char head[12];
  if (bytes.read(0, head, 12) != 12) return {};
  if (is(head, ".snd")) return repair_au(bytes);
  if (is(head, "caff")) return repair_caf(bytes);
  if (is(head, "FORM") && (is(head + 8, "AIFF") || is(head + 8, "AIFC"))) return repair_aiff(bytes);
  if (is(head, "RIFF") && is(head + 8, "WAVE")) return repair_wav(bytes, false);
  if (is(head, "RIFX") && is(head + 8, "WAVE")) return repair_wav(bytes, true);
  return {};
}

}  // namespace

std::unique_ptr<Source> open_repaired(const SourceSpec& spec, const LibsndfileFunctions& library) {
  const int container = spec.format.sndfile_format & CONTAINER_MASK;
  if (container != WAV && container != WAVEX && container != AIFF && container != AU && container != CAF)
    return nullptr;
  auto bytes = open_bytes(spec.place, spec.file_bytes);
  auto patches = repair(*bytes);
  if (patches.empty()) return nullptr;
  return open_with_libsndfile(spec, library, std::move(bytes), std::move(patches));
}

bool probe_repaired(const Bytes& bytes, const LibsndfileFunctions& library,
                    LibsndfileFunctions::Info* info) {
  auto patches = repair(bytes);
  if (patches.empty()) return false;
  VirtualBytes file(bytes, std::move(patches));
  *info = {};
  // Any open overwrites the reason of one that has just failed: see open_lock.h.
  const OpenLock::Hold hold(OpenLock::of_process(), OpenLock::Hold::SHARED);
  void* const handle = library.open_virtual(VirtualBytes::functions(), READ_MODE, info, &file);
  if (!handle) return false;
  library.close(handle);
  return true;
}

}  // namespace headrace
