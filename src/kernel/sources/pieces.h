// Bytes of which only pieces are stored, one behind the other; what is between them is zeros. So a tar keeps a file
// with holes.
//
// Units: offsets, sizes and counts are bytes.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "sources/bytes.h"

namespace headrace {

// Where pieces are, as a catalog keeps it: of each its start in the whole and its size, 8 bytes each, the lowest byte
// first; in order. Return how many bytes are stored. Throws DecodeError if they overlap, are out of order, or do not
// lie within `size` bytes.
int64_t stored_bytes(const std::string& pieces, int64_t size);

// Open the whole of `size` bytes, of which `pieces` stand in `stored` from `offset` on. Throws as `stored_bytes`.
std::unique_ptr<Bytes> open_pieces(std::unique_ptr<Bytes> stored, int64_t offset, int64_t size,
                                   const std::string& pieces);

}  // namespace headrace
