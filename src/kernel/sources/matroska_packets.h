// MatroskaPackets: the packets of a track of a Matroska or WebM file (RFC 9559), by its blocks: simple ones and those in
// groups, with any lacing, in clusters of known size or unknown, and with a header that was stripped from all packets.
//
// Segments, clusters and groups are entered, and any other element is passed over: only blocks count. So reading may
// begin at any element, and needs no level.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "sources/container_packets.h"

namespace headrace {

class MatroskaPackets : public ContainerPackets {
 public:
  // `numbers` are those of begin_matroska: the number of the track, and the bytes that all packets begin with and that
  // are not in the file.
  MatroskaPackets(std::shared_ptr<const Bytes> bytes, const std::vector<int64_t>& numbers)
      : bytes_(std::move(bytes)), track_(numbers.at(0)), prefix_(numbers.begin() + 1, numbers.end()) {}

  static bool accepts(const std::vector<int64_t>& numbers);

  // `place.entry` is where the element of the packet's block begins.
  void seek(const PacketPlace& place) override;
  bool next(ContainerPacket* packet) override;
  bool failed() const override { return bytes_.failed(); }

 private:
  bool next_size();
  bool next_element();
  bool read_block(int64_t content, int64_t size);
  int64_t read_sizes(int64_t begin, int64_t stop, int64_t count, int lacing);

  BufferedBytes bytes_;
  const int64_t track_;
  const std::vector<uint8_t> prefix_;
  int64_t at_ = 0;              // the next element
  std::vector<int64_t> sizes_;  // of the packets of the last block of the track
  size_t given_ = 0;            // how many of them were given
  PacketPlace place_;           // of the next one of them
  int64_t data_ = 0;            // where that begins
  std::vector<uint8_t> joined_;
};

// See begin_layout. `first_data` is what the first packet holds.
std::optional<ContainerLayout> begin_matroska(std::shared_ptr<const Bytes> bytes, const PacketPlace& first,
                                              const uint8_t* first_data, int64_t size);

}  // namespace headrace
