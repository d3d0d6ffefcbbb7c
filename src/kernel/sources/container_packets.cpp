#include "sources/container_packets.h"

#include <algorithm>

namespace headrace {
namespace {

// Bytes that are read at once, if less is asked for: few behind a gap, because another may follow, such as the next
// picture of a film; and up to as many as in table_packets.cpp.
constexpr int64_t FEW = 8 << 10, MANY = 64 << 10;

}  // namespace

const uint8_t* BufferedBytes::at(int64_t offset, int64_t count) {
  failed_ = false;
  if (offset < 0 || count < 0 || offset > bytes_->size() || count > bytes_->size() - offset) return nullptr;
  if (offset < offset_ || offset + count > offset_ + size_) {
    const bool follows = offset >= offset_ && offset <= offset_ + size_;
    at_once_ = follows ? std::min(2 * at_once_, MANY) : FEW;
    const int64_t wanted = std::max(count, bytes_->at_hand(offset, std::max(count, at_once_)));
    buffer_.resize(static_cast<size_t>(wanted));
    size_ = 0;
    offset_ = offset;
    const int64_t got = bytes_->read(offset, buffer_.data(), wanted);
    failed_ = got < 0;
    if (got < count) return nullptr;
    size_ = got;
  }
  return buffer_.data() + (offset - offset_);
}

}  // namespace headrace
