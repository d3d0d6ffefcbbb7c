// TablePackets: the packets of a recording whose index has a SizeTable, read from where they are.
//
// Guarantees: which packets there are depends on the file's bytes and the index alone, not on what was read before.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "sources/bytes.h"
#include "sources/ffmpeg_library.h"
#include "sources/packet_index.h"

namespace headrace {

class TablePackets {
 public:
  TablePackets(std::unique_ptr<Bytes> bytes, const PacketIndex& index) : bytes_(std::move(bytes)), index_(index) {}

  // Make the first packet of a segment's pre-roll the next one. Throws CHANGED if its sizes are not those of the scan.
  void seek(size_t segment);

  // Point `packet` at the next packet; it is valid until the next call. Return false at the end, or where it cannot be
  // read: then `error` is FFmpeg's code for that, or 0 if the file ends. Throws as `seek` does.
  bool next(ffmpeg::Packet* packet);

  int error() const { return error_; }
  bool ended() const { return at_ == index_.table->packets; }

 private:
  struct Item {
    int64_t offset, size;
    int64_t run_stop;  // where the bytes end that follow each other without a gap
  };
  void load(size_t segment);
  bool read(int64_t offset, void* to, int64_t count);

  const std::unique_ptr<Bytes> bytes_;
  const PacketIndex& index_;
  size_t segment_ = 0;
  std::vector<Item> items_;  // of the segment and its pre-roll
  int64_t first_ = 0;        // the number of the first item's packet
  int64_t at_ = 0;           // the number of the next packet
  std::vector<uint8_t> buffer_;
  int64_t buffer_offset_ = 0, buffer_size_ = 0;
  int error_ = 0;
};

}  // namespace headrace
