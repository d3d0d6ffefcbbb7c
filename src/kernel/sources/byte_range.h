// Which bytes of a file a span of its recording stands in, by its index.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace headrace {

struct ByteRange {
  int64_t begin, end;   // bytes: [begin, end)
  bool header = false;  // whether every new decoder reads them
};

// About what decoding frames [start, stop) reads: from the place where decoding has to begin to the last packet, or a
// little more, or to the end of its segment; before or behind it the sizes of the packets, where a table has them, and
// headers that are not in the index. Reading more or less costs time, and changes nothing. In order; none if
// `seek_points` is no index of packets. `size` is that of the file.
std::vector<ByteRange> byte_ranges(const std::string& seek_points, int64_t start, int64_t stop, int64_t size);

}  // namespace headrace
