// Bytes: random access to the bytes of a file, or of a piece of memory.
//
// Units: offsets, sizes and counts are bytes.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

namespace headrace {

class Bytes {
 public:
  virtual ~Bytes() = default;
  virtual int64_t size() const = 0;
  // Read up to `count` bytes at `offset`. Return how many were read: fewer only at the end, -1 on an error
  // (then errno is set).
  virtual int64_t read(int64_t offset, void* to, int64_t count) const = 0;
};

// Open a file. `path` is what the system's open() takes. Throws DecodeError if it cannot be opened, or if it
// is a regular file of fewer than `least_bytes` bytes. Not on Windows.
std::unique_ptr<Bytes> open_bytes(const std::string& path, int64_t least_bytes = 0);

}  // namespace headrace
