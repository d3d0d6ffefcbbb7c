// Which bytes of a file a span of its recording stands in, by its index.
#pragma once
#include <cstdint>
#include <string>

namespace headrace {

struct ByteRange {
  int64_t begin, end;  // bytes: [begin, end)
};

// Set `range` to about what decoding frames [start, stop) reads: from the place where decoding has to begin to the last
// packet, or a little more. Reading more or less costs time, and changes nothing. Return false if `seek_points` is
// no index of packets. `size` is that of the file.
bool byte_range(const std::string& seek_points, int64_t start, int64_t stop, int64_t size, ByteRange* range);

}  // namespace headrace
