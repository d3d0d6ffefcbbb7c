// Bits: reads a piece of memory bit by bit, the most significant bit of each byte first.
//
// Guarantees: nothing beyond the end and its padding is read. Bits taken from beyond the end have no defined
// value; good() is false then.
#pragma once
#include <cstdint>
#include <cstring>

namespace headrace {

// Bytes after the end that have to be readable memory. Their values do not matter.
constexpr int64_t BITS_PADDING = 16;

class Bits {
 public:
  // How many bits `refill` makes available, and the most that may be taken before the next `refill`.
  static constexpr int FULL = 56;

  Bits(const unsigned char* begin, int64_t count) : begin_(begin), next_(begin), end_(begin + count) {}

  // Whether all bits taken so far were before the end, and nothing called `fail`.
  bool good() const { return !failed_ && 8 * (next_ - begin_) - left <= 8 * (end_ - begin_); }
  void fail() {
    failed_ = true;
    top = 0;
    left = 63;
  }
  int64_t position() const { return 8 * (next_ - begin_) - left; }

  // Make at least FULL bits available in `top`. Return false, and fail, if bits have been taken from beyond
  // the end.
  bool refill() {
    if (next_ > end_) {
      if (!good()) {
        fail();
        return false;
      }
    } else {
      uint64_t word;
      std::memcpy(&word, next_, sizeof word);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
      word = __builtin_bswap64(word);
#endif
      top |= word >> left;
    }
    next_ += (63 - left) >> 3;
    left |= FULL;
    return true;
  }

  // The next `count` bits, 0 to 32.
  uint32_t take(int count) {
    if (left < count) refill();  // if it fails, it leaves 63 zeros
    const uint64_t value = top >> 1 >> (63 - count);
    top <<= count;
    left -= count;
    return static_cast<uint32_t>(value);
  }

  int32_t take_signed(int count) {  // 1 to 32
    return static_cast<int32_t>(take(count) << (32 - count)) >> (32 - count);
  }

  // Count the zeros before the next 1, and take them and the 1. Fails if there are `most` or more.
  uint32_t take_unary(uint32_t most) {
    for (uint32_t zeros = 0;;) {
      if (!refill()) return 0;
      const int some = __builtin_clzll(top | 1);
      if (some < left) {
        zeros += static_cast<uint32_t>(some);
        top = top << some << 1;
        left -= some + 1;
        if (zeros >= most) break;
        return zeros;
      }
      zeros += static_cast<uint32_t>(left);
      top <<= left;
      left = 0;
      if (zeros >= most) break;
    }
    fail();
    return 0;
  }

  uint64_t top = 0;  // the next bits, from the most significant on
  int left = 0;      // how many of them are valid

 private:
  const unsigned char* begin_;
  const unsigned char* next_;
  const unsigned char* end_;
  bool failed_ = false;
};

}  // namespace headrace
