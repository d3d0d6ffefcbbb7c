// Bytes: random access to the bytes of a file, of a part of one, of an object in a store, or of a piece of memory.
//
// Units: offsets, sizes and counts are bytes.
#pragma once
#include <cstdint>

namespace headrace {

class Bytes {
 public:
  virtual ~Bytes() = default;
  virtual int64_t size() const = 0;
  // Read up to `count` bytes at `offset`. Return how many were read: fewer only at the end, -1 on an error
  // (then errno is set). What a store gives may block, and may throw DecodeError instead: see WatchedStore.
  virtual int64_t read(int64_t offset, void* to, int64_t count) const = 0;
  // How many of the `count` bytes at `offset` are there or under way, up to the first one that is not: a store would
  // have to be asked for that.
  virtual int64_t ready(int64_t offset, int64_t count) const {
    (void)offset;
    return count;
  }
  // How many of them to read at once, if not all are needed: those that are ready, or all if none is.
  int64_t at_hand(int64_t offset, int64_t count) const {
    const int64_t some = ready(offset, count);
    return some > 0 ? some : count;
  }
};

}  // namespace headrace
