// AdtsPackets: AAC as a stream of frames that begin with their own length (ADTS, ISO/IEC 13818-7 and 14496-3).
//
// Of such a stream a packet is a frame with its header. Each begins where the one before it ends: where one does not,
// there is none.
#pragma once
#include <memory>
#include <utility>

#include "sources/container_packets.h"

namespace headrace {

class AdtsPackets : public ContainerPackets {
 public:
  explicit AdtsPackets(std::shared_ptr<const Bytes> bytes) : bytes_(std::move(bytes)) {}

  void seek(const PacketPlace& place) override { at_ = place.offset; }

  bool next(ContainerPacket* packet) override {
    constexpr int64_t HEADER = 7;
    const uint8_t* header = bytes_.at(at_, HEADER);
    // Twelve ones, and two zeros where MPEG audio has its layer.
    if (!header || header[0] != 0xFF || (header[1] & 0xF6) != 0xF0) return false;
    const int64_t size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5;
    if (size < HEADER) return false;
    *packet = {bytes_.at(at_, size), size, {at_, 0, PacketPlace::NO_TIME, 0, 0}, at_ + size};
    at_ += size;
    return packet->data != nullptr;
  }

  bool failed() const override { return bytes_.failed(); }

 private:
  BufferedBytes bytes_;
  int64_t at_ = 0;
};

}  // namespace headrace
