// OggPages: the pages of an Ogg file, one after the other.
//
// Guarantees
// - Only pages with the right checksum are given. What is no such page is skipped, and remembered.
// - It reads no byte behind the limit that it is given, and no more than a page and 64 KiB ahead.
// - A file of any content takes time in proportion to its size.
//
// Units: offsets and sizes are bytes of the file.
#pragma once
#include <cstdint>
#include <vector>

#include "sources/bytes.h"

namespace headrace {

struct OggPage {
  static constexpr int CONTINUED = 1, FIRST = 2, LAST = 4;  // flags
  static constexpr int64_t NO_GRANULE = -1;

  int64_t offset = 0, size = 0;
  int flags = 0;
  int64_t granule = NO_GRANULE;
  uint32_t serial = 0, number = 0, checksum = 0;
  const uint8_t* lacing = nullptr;  // the sizes of `segments` segments; valid until the next page is read
  int segments = 0;
  const uint8_t* body = nullptr;  // the segments

  bool continued() const { return flags & CONTINUED; }
  bool first() const { return flags & FIRST; }
  bool last() const { return flags & LAST; }
};

// Bytes that are not part of a page.
struct OggGap {
  int64_t offset = 0, size = 0;
  bool operator==(const OggGap& other) const { return offset == other.offset && size == other.size; }
};

class OggPages {
 public:
  explicit OggPages(const Bytes& bytes);

  // Give the next page; return false at the end of the file. Throws DecodeError if the file cannot be read.
  bool next(OggPage* page);

  // What was skipped before the page that `next` gave, or at the end; of size 0 if nothing was.
  const OggGap& gap() const { return gap_; }

  // Make the page at `offset` the next one.
  void seek(int64_t offset);

  // Where the next page is looked for.
  int64_t offset() const { return begin_ + at_; }

  // Read nothing that lies behind `offset` before a page that begins there is asked for.
  void set_limit(int64_t offset) { limit_ = offset; }

 private:
  bool fill(int64_t count);

  const Bytes& bytes_;
  std::vector<uint8_t> buffer_;
  int64_t begin_ = 0;           // where the buffer begins
  int64_t at_ = 0, filled_ = 0;  // in the buffer
  int64_t limit_;
  int64_t patience_;  // bytes of which the checksum may still be computed in vain
  OggGap gap_;
};

// The checksum of a page: `page` has `size` bytes, and its own field is taken as 0.
uint32_t ogg_checksum(const uint8_t* page, int64_t size);

}  // namespace headrace
