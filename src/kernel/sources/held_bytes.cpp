#include "sources/held_bytes.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <vector>

namespace headrace {
namespace {

constexpr int MOST_CHUNKS = 256;
constexpr uint64_t LEAST_SIZE = 512;  // no more than a header: this says nothing
constexpr int64_t SECTOR = 512;       // fewer bytes behind the samples are no audio. A guess
constexpr int64_t TAIL = 64 << 10;    // bytes at the end that are searched for chunks, or for silence
constexpr uint64_t WRAP = uint64_t{1} << 32;

bool is_name(const unsigned char* p) {
  return std::all_of(p, p + 4, [](unsigned char c) { return c >= 0x20 && c < 0x7F; });
}

// The size that follows a chunk's name.
uint64_t chunk_size(const unsigned char* p, Chunks chunks) {
  const int bytes = chunks == Chunks::CAF ? 8 : 4;
  uint64_t size = 0;
  for (int i = 0; i < bytes; ++i)
    size |= uint64_t{p[i]} << 8 * (chunks == Chunks::RIFF ? i : bytes - 1 - i);
  return size;
}

// Whether chunks and nothing else stand from `at` to the end of the file.
bool only_chunks(const Bytes& bytes, int64_t at, Chunks chunks) {
  const int64_t size = bytes.size();
  if (chunks == Chunks::NONE) return at == size;
  const int64_t head = chunks == Chunks::CAF ? 12 : 8;
  for (int chunk = 0; chunk < MOST_CHUNKS && size - at >= head; ++chunk) {
    unsigned char name[12];
    if (bytes.read(at, name, head) != head || !is_name(name)) return false;
    const uint64_t content = chunk_size(name + 4, chunks);
    if (content > static_cast<uint64_t>(size - at - head)) return false;
    at += head + static_cast<int64_t>(content);
    if (at == size) return true;
    if (chunks != Chunks::CAF) at += at & 1;
  }
  return at <= size + 1 && size - at < head;
}

bool only_chunks_behind(const Bytes& bytes, int64_t at, Chunks chunks) {
  const bool odd = (at & 1) != 0 && (chunks == Chunks::RIFF || chunks == Chunks::IFF);
  return only_chunks(bytes, at + odd, chunks) || (odd && only_chunks(bytes, at, chunks));
}

// Whether a chunk that stands behind samples, as far as is known, begins here.
bool is_known_name(const unsigned char* p) {
  static constexpr const char* NAMES[] = {"LIST", "PEAK", "id3 ", "ID3 ", "bext", "cue ", "smpl",
                                          "iXML", "axml", "_PMX", "fact", "inst", "acid", "JUNK",
                                          "junk", "PAD ", "plst", "cart", "FLLR", "guan", "wamd",
                                          "chna", "labl", "levl", "MARK", "COMT", "INST", "NAME",
                                          "ANNO", "AUTH", "info", "strg", "mark", "uuid", "free"};
  return std::any_of(std::begin(NAMES), std::end(NAMES),
                     [p](const char* name) { return std::memcmp(p, name, 4) == 0; });
}

// Where the samples that begin at `at` end if they go on to the end of the file: before the chunks there, if any.
int64_t end_of_samples(const Bytes& bytes, int64_t at, Chunks chunks) {
  const int64_t size = bytes.size(), from = std::max(at, size - TAIL);
  if (chunks == Chunks::NONE) return size;
  std::vector<unsigned char> tail(static_cast<size_t>(size - from));
  if (bytes.read(from, tail.data(), size - from) != size - from) return size;
  const int64_t step = chunks == Chunks::CAF ? 1 : 2;
  for (int64_t i = step == 2 ? from & 1 : 0; i + 8 <= size - from; i += step) {
    if (is_name(tail.data() + i) && is_known_name(tail.data() + i) &&
        only_chunks(bytes, from + i, chunks))
      return from + i;
  }
  return size;
}

// Whether what stands from `at` on is a chunk, which may be cut short, or the zeros that fill a block of the disk.
bool is_filling(const Bytes& bytes, int64_t at, Chunks chunks) {
  std::vector<unsigned char> tail(static_cast<size_t>(std::min(TAIL, bytes.size() - at)));
  const int64_t got = bytes.read(at, tail.data(), static_cast<int64_t>(tail.size()));
  if (got < 12) return true;
  if (chunks != Chunks::NONE && is_name(tail.data()) &&
      (is_known_name(tail.data()) ||
       chunk_size(tail.data() + 4, chunks) < static_cast<uint64_t>(bytes.size() - at)))
    return true;
  return std::all_of(tail.data(), tail.data() + got, [](unsigned char byte) { return byte == 0; });
}

}  // namespace

bool is_unknown_size(uint64_t declared) {
  return (declared >= 0x7FFFF000u && declared <= 0x80000000u) ||
         (declared >= 0xFFFF0000u && declared <= 0xFFFFFFFFu) || declared >= 0x7FFFFFFFFFFFFFFFu;
}

int64_t held_bytes(const Bytes& bytes, int64_t at, uint64_t declared, Chunks chunks) {
  const int64_t available = bytes.size() - at;
  const bool fits = declared <= static_cast<uint64_t>(available);
  const int64_t stop = fits ? at + static_cast<int64_t>(declared) : 0;
  if (fits && only_chunks_behind(bytes, stop, chunks)) return static_cast<int64_t>(declared);
  if (chunks != Chunks::CAF && declared < WRAP)
    for (uint64_t size = declared + WRAP; size <= static_cast<uint64_t>(available); size += WRAP)
      if (only_chunks_behind(bytes, at + static_cast<int64_t>(size), chunks))
        return static_cast<int64_t>(size);
  if (fits && declared >= LEAST_SIZE && !is_unknown_size(declared) &&
      (bytes.size() - stop < SECTOR || is_filling(bytes, stop, chunks)))
    return static_cast<int64_t>(declared);
  return end_of_samples(bytes, at, chunks) - at;
}

}  // namespace headrace
