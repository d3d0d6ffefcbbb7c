// ContainerPackets: the packets of a recording's track, found in the file by a reader of our own for its container.
//
// A scan compares each packet with the one that FFmpeg's demuxer gives. Only if all are the same is the reader used for
// loading, and its ContainerLayout kept in the index. So a reader need not know everything that a container can hold.
//
// Guarantees: which packets there are depends on the file's bytes and the layout alone, not on what was read before.
// Whatever the file and the layout say, a reader reads no memory but its own, and ends.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "sources/bytes.h"
#include "sources/packet_index.h"

namespace headrace {

// Bytes of a file, read some at a time.
class BufferedBytes {
 public:
  explicit BufferedBytes(std::shared_ptr<const Bytes> bytes) : bytes_(std::move(bytes)) {}

  // The bytes [offset, offset + count), valid until the next call. Null where the file ends before, or cannot be read.
  const uint8_t* at(int64_t offset, int64_t count);
  // Whether the system could not read them.
  bool failed() const { return failed_; }

 private:
  const std::shared_ptr<const Bytes> bytes_;
  std::vector<uint8_t> buffer_;
  int64_t offset_ = -1, size_ = 0, at_once_ = 0;
  bool failed_ = false;
};

struct ContainerPacket {
  const uint8_t* data = nullptr;  // valid until the next packet is asked for
  int64_t size = 0;
  PacketPlace place;              // offset, ordinal and entry
  int64_t stop = 0;               // the end of the bytes that were needed for it
};

class ContainerPackets {
 public:
  virtual ~ContainerPackets() = default;
  // Make the packet at a place the next one.
  virtual void seek(const PacketPlace& place) = 0;
  // Give the next packet. Return false where there is none, or it cannot be told: then `failed` says whether the
  // system could not read the file.
  virtual bool next(ContainerPacket* packet) = 0;
  virtual bool failed() const = 0;
};

}  // namespace headrace
