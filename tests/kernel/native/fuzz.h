// What the fuzzers of the native readers share: numbers that look random, and a file in memory.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "sources/bytes.h"

namespace fuzz {

using File = std::vector<unsigned char>;

inline uint64_t state;
inline uint64_t next() {  // splitmix64
  uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}
inline uint64_t below(uint64_t n) { return next() % n; }

class Memory : public headrace::Bytes {
 public:
  // Whoever reads asks for nothing before the file; one who `knows_size`, for nothing behind it.
  explicit Memory(const File& from, bool knows_size = false)
      : size_(static_cast<int64_t>(from.size())),
        knows_size_(knows_size),
        bytes_(new unsigned char[from.empty() ? 1 : from.size()]) {
    // One allocation of exactly the size: a read beyond it is the sanitizer's.
    if (!from.empty()) std::memcpy(bytes_.get(), from.data(), from.size());
  }
  int64_t size() const override { return size_; }
  int64_t read(int64_t offset, void* to, int64_t count) const override {
    if (offset < 0 || count < 0) std::abort();
    if (knows_size_ && offset + count > size_) std::abort();
    if (offset >= size_) return 0;
    const int64_t some = count < size_ - offset ? count : size_ - offset;
    std::memcpy(to, bytes_.get() + offset, static_cast<size_t>(some));
    return some;
  }

 private:
  int64_t size_;
  bool knows_size_;
  std::unique_ptr<unsigned char[]> bytes_;
};

}  // namespace fuzz
