// CRC-32 as zlib computes it: the reflected polynomial 0xEDB88320, all ones before and after.
//
// On x86 with carry-less multiplication it takes about as long as reading the bytes from memory.
#pragma once
#include <cstddef>
#include <cstdint>

namespace headrace {

// The checksum of `count` bytes, or of what `checksum` is of and these bytes behind it.
uint32_t crc32(const void* data, size_t count, uint32_t checksum = 0);

// The same by tables, on every processor.
uint32_t crc32_portable(const void* data, size_t count, uint32_t checksum = 0);

}  // namespace headrace
