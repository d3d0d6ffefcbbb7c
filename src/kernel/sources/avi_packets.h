// AviPackets: the packets of a stream of an AVI file, by its chunks (Microsoft's AVI RIFF file reference, and the OpenDML
// extension, in which further RIFF chunks follow the first one).
//
// RIFF chunks and lists of data are entered, and any other chunk is passed over. So reading may begin at any chunk. No
// index of the file is used.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "sources/container_packets.h"

namespace headrace {

class AviPackets : public ContainerPackets {
 public:
  // `numbers` are those of begin_avi: the name of the stream's chunks, and the most bytes of a packet; 0 if each chunk is
  // one.
  AviPackets(std::shared_ptr<const Bytes> bytes, const std::vector<int64_t>& numbers)
      : bytes_(std::move(bytes)), name_(numbers.at(0)), most_(numbers.at(1)) {}

  // `place.entry` is where the chunk of the packet begins.
  void seek(const PacketPlace& place) override;
  bool next(ContainerPacket* packet) override;
  bool failed() const override { return bytes_.failed(); }

 private:
  bool next_chunk();

  BufferedBytes bytes_;
  const int64_t name_, most_;
  int64_t chunk_ = 0;           // the last chunk that was looked at
  int64_t at_ = 0, stop_ = 0;   // what is left of its packets; none if it is not one of the stream
  int64_t next_ = 0;            // the next chunk
};

// See begin_layout (open_container.h).
std::optional<ContainerLayout> begin_avi(std::shared_ptr<const Bytes> bytes, const PacketPlace& first);

}  // namespace headrace
