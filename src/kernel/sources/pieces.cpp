#include "sources/pieces.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "sources/decode_error.h"
#include "sources/little_endian.h"

namespace headrace {
namespace {

constexpr size_t ENTRY = 16;

// [start, stop) of the whole, stored from `at` on.
struct Piece {
  int64_t start, stop, at;
};

std::vector<Piece> unpack(const std::string& pieces, int64_t size) {
  const auto refuse = [] {
    throw DecodeError("HEADER_MISMATCH", "the catalog's map of the file's holes is damaged: scan again");
  };
  if (size < 0 || pieces.size() % ENTRY) refuse();
  const auto* data = reinterpret_cast<const uint8_t*>(pieces.data());
  std::vector<Piece> found;
  found.reserve(pieces.size() / ENTRY);
  int64_t end = 0, at = 0;
  for (size_t entry = 0; entry < pieces.size() / ENTRY; ++entry, data += ENTRY) {
    const auto start = static_cast<int64_t>(little_endian(data, 8));
    const auto count = static_cast<int64_t>(little_endian(data + 8, 8));
    if (start < end || start > size || count < 0 || count > size - start) refuse();
    if (count) found.push_back({start, start + count, at});
    end = start + count;
    at += count;
  }
  return found;
}

class Pieces : public Bytes {
 public:
  Pieces(std::unique_ptr<Bytes> stored, int64_t offset, int64_t size, std::vector<Piece> pieces)
      : stored_(std::move(stored)), offset_(offset), size_(size), pieces_(std::move(pieces)) {}
  int64_t size() const override { return size_; }

  int64_t read(int64_t offset, void* to, int64_t count) const override {
    if (offset < 0 || offset >= size_) return 0;
    count = std::min(count, size_ - offset);
    int64_t done = 0;
    auto piece = first_behind(offset);
    while (done < count) {
      const Span span = span_at(piece, offset + done, count - done);
      char* const part = static_cast<char*>(to) + done;
      if (span.stored_at < 0) {
        std::memset(part, 0, static_cast<size_t>(span.count));
      } else {
        const int64_t got = stored_->read(span.stored_at, part, span.count);
        if (got < 0) return -1;
        if (got < span.count) return done + got;
      }
      done += span.count;
      if (piece != pieces_.end() && offset + done >= piece->stop) ++piece;
    }
    return done;
  }

  int64_t ready(int64_t offset, int64_t count) const override {
    int64_t done = 0;
    auto piece = first_behind(offset);
    while (done < count) {
      const Span span = span_at(piece, offset + done, count - done);
      const int64_t some = span.stored_at < 0 ? span.count : stored_->ready(span.stored_at, span.count);
      done += some;
      if (some < span.count) break;
      if (piece != pieces_.end() && offset + done >= piece->stop) ++piece;
    }
    return done;
  }

 private:
  using Iterator = std::vector<Piece>::const_iterator;
  struct Span {
    int64_t count;
    int64_t stored_at;  // -1: zeros
  };

  // The first piece that ends behind `offset`.
  Iterator first_behind(int64_t offset) const {
    return std::partition_point(pieces_.begin(), pieces_.end(),
                                [&](const Piece& one) { return one.stop <= offset; });
  }

  // Where up to `count` bytes from `offset` on are, if `piece` is the first one that ends behind it.
  Span span_at(Iterator piece, int64_t offset, int64_t count) const {
    if (piece == pieces_.end()) return {count, -1};
    if (offset < piece->start) return {std::min(count, piece->start - offset), -1};
    return {std::min(count, piece->stop - offset), offset_ + piece->at + (offset - piece->start)};
  }

  const std::unique_ptr<Bytes> stored_;
  const int64_t offset_, size_;
  const std::vector<Piece> pieces_;
};

}  // namespace

int64_t stored_bytes(const std::string& pieces, int64_t size) {
  const auto found = unpack(pieces, size);
  return found.empty() ? 0 : found.back().at + (found.back().stop - found.back().start);
}

std::unique_ptr<Bytes> open_pieces(std::unique_ptr<Bytes> stored, int64_t offset, int64_t size,
                                   const std::string& pieces) {
  return std::make_unique<Pieces>(std::move(stored), offset, size, unpack(pieces, size));
}

}  // namespace headrace
