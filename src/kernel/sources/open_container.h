// Which readers of packets there are (container_packets.h), and for which files.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sources/container_packets.h"

namespace headrace {

// A reader, if there is one for FFmpeg's name of the container. `numbers` are those of the layout.
std::unique_ptr<ContainerPackets> open_container(const std::string& demuxer, std::shared_ptr<const Bytes> bytes,
                                                 const std::vector<int64_t>& numbers);

// Begin a layout with what the header of a file says: its numbers, `first` and `entries_stop`. `first` is where the
// demuxer gives the first packet, which has `size` bytes, `data`, of a track with the number `track`. None if there is
// no reader, or it does not know such files.
std::optional<ContainerLayout> begin_layout(const std::string& demuxer, const std::shared_ptr<const Bytes>& bytes,
                                            int track, const PacketPlace& first, const uint8_t* data, int64_t size);

}  // namespace headrace
