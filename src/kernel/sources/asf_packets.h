// AsfPackets: the packets of a stream of an ASF file (WMA, WMV; Microsoft's Advanced Systems Format).
//
// The file's data are packets of one size, called blocks here. A block holds payloads: parts of the packets of its
// streams, which FFmpeg calls packets, too. A packet may be spread over blocks, and several short ones may share a
// payload ("compressed payload data"). The place of a packet is the block in which it begins. Packets are numbered, so
// that none is lost unnoticed: a file in which the numbers do not count up is not understood.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "sources/container_packets.h"

namespace headrace {

class AsfPackets : public ContainerPackets {
 public:
  // `numbers` are those of begin_asf.
  AsfPackets(std::shared_ptr<const Bytes> bytes, const std::vector<int64_t>& numbers)
      : bytes_(std::move(bytes)), block_size_(numbers[0]), stream_(numbers[1]) {}

  // Whether these can be such numbers.
  static bool accepts(const std::vector<int64_t>& numbers);

  void seek(const PacketPlace& place) override;
  bool next(ContainerPacket* packet) override;
  bool failed() const override { return bytes_.failed(); }

 private:
  struct Payload {
    int64_t at, size;      // in the block
    int64_t before, whole;  // bytes of the packet in payloads before this one, and in all
    int64_t number;         // of the packet, as far as its field tells
    int64_t numbers;        // how many the field can tell
  };
  const uint8_t* load();
  bool parse(const uint8_t* block);

  BufferedBytes bytes_;
  const int64_t block_size_, stream_;
  int64_t block_ = 0;               // where the current block stands, or the next one if it is not loaded
  bool is_loaded_ = false;
  bool is_damaged_ = false;         // whether it has more than the payloads that are understood
  std::vector<Payload> payloads_;   // of the stream in the block
  size_t next_payload_ = 0;
  int64_t ordinal_ = 0;             // of the next packet that begins in the block
  std::vector<uint8_t> joined_;     // what there is of a packet that goes on in the next block
  PacketPlace joined_place_;        // of the last packet that began
  int64_t number_ = -1;             // its number; -1 if it is not known
  std::vector<uint8_t> whole_;      // the last packet that was joined
};

// See begin_layout (open_container.h).
std::optional<ContainerLayout> begin_asf(const Bytes& bytes, int stream, const PacketPlace& first);

}  // namespace headrace
