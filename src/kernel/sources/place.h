// Place: where the bytes of a recording are. Everything that opens a recording opens a Place.
//
// Units: offsets and lengths are bytes.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "sources/bytes.h"

namespace headrace {

// Named objects that are no files of the system: in memory, or fetched from elsewhere.
//
// Guarantees: threads may share a store. Opening an object fetches nothing.
class ByteStore {
 public:
  virtual ~ByteStore() = default;
  // Throws DecodeError if there is no such object.
  virtual std::unique_ptr<Bytes> open(const std::string& key) = 0;
};

// A whole file, a part of one, or an object of a store or a part of it. A part may be stored without its holes.
struct Place {
  std::string path;    // as the system's open() takes it: bytes, or UTF-16 on Windows; or the key in `store`
  int64_t offset = 0;  // where the recording begins
  int64_t length = -1;  // of the recording; -1: to the end
  std::shared_ptr<ByteStore> store;  // null: a file of the system
  std::optional<std::string> pieces;  // what is stored of the recording from `offset` on: see pieces.h; none: all

  bool is_whole_file() const { return !store && offset == 0 && length < 0 && !pieces; }
};

// Open a place. Throws DecodeError: if it cannot be opened; CHANGED if a file ends before the place does, or the
// place has fewer than `least_bytes` bytes and is not a device or the like. Not on Windows.
std::unique_ptr<Bytes> open_bytes(const Place& place, int64_t least_bytes = 0);

}  // namespace headrace
