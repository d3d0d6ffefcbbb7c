// CafPackets: the packets of a Core Audio file (Apple's specification of CAF).
//
// Packets stand one after the other. They have one size, or the packet table (`pakt`) tells it, in one to four bytes for
// each; and how many frames it has, if that varies.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "sources/container_packets.h"

namespace headrace {

class CafPackets : public ContainerPackets {
 public:
  // `numbers` are those of begin_caf.
  CafPackets(std::shared_ptr<const Bytes> bytes, const std::vector<int64_t>& numbers);

  void seek(const PacketPlace& place) override;
  bool next(ContainerPacket* packet) override;
  bool failed() const override { return failed_; }

 private:
  bool take_number(int64_t* value);
  bool take_size(int64_t* size);

  BufferedBytes bytes_, table_;
  const int64_t size_;         // of each packet but the last; 0 if the table tells
  const bool lists_frames_;    // whether the table tells frames, too
  const int64_t data_stop_;
  int64_t at_ = 0, entry_ = 0;
  bool failed_ = false;
};

// See begin_layout (open_container.h).
std::optional<ContainerLayout> begin_caf(const Bytes& bytes, const PacketPlace& first, int64_t size);

}  // namespace headrace
