#include "sources/ogg_pages.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "sources/decode_error.h"
#include "sources/little_endian.h"

namespace headrace {
namespace {

constexpr int64_t HEADER = 27, CHECKSUM_AT = 22;  // bytes of a page
constexpr int64_t READ = 1 << 16;                 // bytes read at once, more or less

// How many bytes of checksums may be wasted on what only looks like a page: a multiple of the file's size, and
// some more for small files. Guesses.
constexpr int64_t PATIENCE = 16, LEAST_PATIENCE = 1 << 26;

constexpr int WIDTH = 16;  // bytes of a step

// tables[k][b]: what byte b does to the checksum when k bytes follow. The polynomial is Ogg's.
using Tables = std::array<std::array<uint32_t, 256>, WIDTH>;
Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte << 24;
    for (int bit = 0; bit < 8; ++bit) value = value << 1 ^ (value >> 31 ? 0x04C11DB7u : 0u);
    tables[0][byte] = value;
  }
  for (size_t k = 1; k < WIDTH; ++k)
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables[k - 1][byte];
      tables[k][byte] = before << 8 ^ tables[0][before >> 24];
    }
  return tables;
}
const Tables TABLES = make_tables();

uint32_t add(uint32_t value, const uint8_t* from, int64_t count) {
  for (; count >= WIDTH; count -= WIDTH, from += WIDTH) {
    uint32_t next = TABLES[15][from[0] ^ value >> 24] ^ TABLES[14][from[1] ^ (value >> 16 & 255)] ^
                    TABLES[13][from[2] ^ (value >> 8 & 255)] ^ TABLES[12][from[3] ^ (value & 255)];
    for (size_t i = 4; i < WIDTH; ++i) next ^= TABLES[WIDTH - 1 - i][from[i]];
    value = next;
  }
  for (; count > 0; --count) value = value << 8 ^ TABLES[0][value >> 24 ^ *from++];
  return value;
}

uint32_t word_at(const uint8_t* from) { return static_cast<uint32_t>(little_endian(from, 4)); }

}  // namespace

uint32_t ogg_checksum(const uint8_t* page, int64_t size) {
  constexpr uint8_t zeros[4] = {};
  const uint32_t value = add(add(0, page, CHECKSUM_AT), zeros, 4);
  return add(value, page + CHECKSUM_AT + 4, size - CHECKSUM_AT - 4);
}

OggPages::OggPages(const Bytes& bytes)
    : bytes_(bytes), limit_(bytes.size()), patience_(PATIENCE * bytes.size() + LEAST_PATIENCE) {}

void OggPages::seek(int64_t offset) {
  if (offset >= begin_ && offset <= begin_ + filled_) {
    at_ = offset - begin_;
    return;
  }
  begin_ = offset;
  at_ = filled_ = 0;
}

// Have `count` bytes from the current place on in the buffer. Return false at the end of the file.
bool OggPages::fill(int64_t count) {
  if (filled_ - at_ >= count) return true;
  if (at_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + at_, static_cast<size_t>(filled_ - at_));
    begin_ += at_;
    filled_ -= at_;
    at_ = 0;
  }
  // Up to the limit, or as much as is needed: a page may not end where the index says that one does.
  const int64_t end = begin_ + filled_;
  const int64_t more = std::min(READ, limit_ - end);
  const int64_t wanted = std::max(count - filled_, more > 0 ? bytes_.at_hand(end, more) : 0);
  buffer_.resize(static_cast<size_t>(std::max<int64_t>(filled_ + wanted, static_cast<int64_t>(buffer_.size()))));
  const int64_t got = bytes_.read(end, buffer_.data() + filled_, wanted);
  if (got < 0) throw_system_error(errno);
  filled_ += got;
  return filled_ >= count;
}

bool OggPages::next(OggPage* page) {
  gap_ = {offset(), 0};
  for (;;) {
    if (!fill(HEADER)) break;
    const uint8_t* head = buffer_.data() + at_;
    if (!std::memcmp(head, "OggS", 4) && head[4] == 0) {
      const int segments = head[26];
      if (fill(HEADER + segments)) {
        head = buffer_.data() + at_;
        int64_t size = HEADER + segments;
        for (int i = 0; i < segments; ++i) size += head[HEADER + i];
        if (patience_ > 0 && fill(size)) {
          head = buffer_.data() + at_;
          const uint32_t checksum = word_at(head + CHECKSUM_AT);
          if (ogg_checksum(head, size) == checksum) {
            page->offset = offset();
            page->size = size;
            page->flags = head[5];
            page->granule = static_cast<int64_t>(word_at(head + 6) |
                                                 uint64_t{word_at(head + 10)} << 32);
            page->serial = word_at(head + 14);
            page->number = word_at(head + 18);
            page->checksum = checksum;
            page->segments = segments;
            page->lacing = head + HEADER;
            page->body = head + HEADER + segments;
            gap_.size = page->offset - gap_.offset;
            at_ += size;
            return true;
          }
          patience_ -= size;
        }
      }
    }
    // Look for the next capture pattern.
    const uint8_t* from = buffer_.data() + at_ + 1;
    const auto* found = static_cast<const uint8_t*>(
        std::memchr(from, 'O', static_cast<size_t>(filled_ - at_ - 1)));
    at_ = found ? found - buffer_.data() : filled_;
  }
  at_ = filled_;
  gap_.size = offset() - gap_.offset;
  return false;
}

}  // namespace headrace
