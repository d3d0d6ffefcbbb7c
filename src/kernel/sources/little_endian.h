// Numbers in files whose lowest byte comes first.
#pragma once
#include <cstdint>

namespace headrace {

// The number of `count` bytes, up to 8.
inline uint64_t little_endian(const uint8_t* from, int count) {
  uint64_t number = 0;
  for (int i = 0; i < count; ++i) number |= uint64_t{from[i]} << 8 * i;
  return number;
}

}  // namespace headrace
