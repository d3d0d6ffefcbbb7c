// Numbers in few bytes, for the indexes that a catalog keeps.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace headrace {

// Append a number in base 128, 7 bits in each byte, the lowest first.
inline void put(std::string* to, uint64_t value) {
  for (; value >= 128; value >>= 7) to->push_back(static_cast<char>(128 | (value & 127)));
  to->push_back(static_cast<char>(value));
}
inline void put_signed(std::string* to, int64_t value) {
  put(to, static_cast<uint64_t>(value) << 1 ^ (value < 0 ? ~uint64_t{0} : 0));
}

// Takes such numbers back. Each `take` returns false if there is none, or if it is larger than `most`.
class Unpacker {
 public:
  Unpacker(const char* from, size_t size) : from_(from), size_(size) {}
  bool take(int64_t most, int64_t* value) {
    uint64_t sum = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      if (at_ == size_) return false;
      const auto byte = static_cast<unsigned char>(from_[at_++]);
      sum |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) {
        *value = static_cast<int64_t>(sum);
        return sum <= static_cast<uint64_t>(most);
      }
    }
    return false;
  }
  bool take_signed(int64_t most, int64_t* value) {
    if (!take(2 * most + 1, value)) return false;
    *value = *value & 1 ? -(*value >> 1) - 1 : *value >> 1;
    return true;
  }
  bool take_byte(int64_t* value) {
    if (at_ == size_) return false;
    *value = static_cast<unsigned char>(from_[at_++]);
    return true;
  }
  bool done() const { return at_ == size_; }

 private:
  const char* from_;
  size_t size_, at_ = 0;
};

// FNV-1a of 32 bits, as four characters. It detects damage to the catalog's file.
inline std::string checksum(const char* from, size_t size) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < size; ++i) hash = (hash ^ static_cast<unsigned char>(from[i])) * 16777619u;
  std::string four;
  for (int shift = 0; shift < 32; shift += 8) four.push_back(static_cast<char>(hash >> shift & 255));
  return four;
}

}  // namespace headrace
