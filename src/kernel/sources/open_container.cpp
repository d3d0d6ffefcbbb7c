#include "sources/open_container.h"

#include <utility>

#include "sources/adts_packets.h"
#include "sources/asf_packets.h"
#include "sources/avi_packets.h"
#include "sources/caf_packets.h"
#include "sources/matroska_packets.h"

namespace headrace {

std::unique_ptr<ContainerPackets> open_container(const std::string& demuxer, std::shared_ptr<const Bytes> bytes,
                                                 const std::vector<int64_t>& numbers) {
  if (demuxer == "aac" && numbers.empty()) return std::make_unique<AdtsPackets>(std::move(bytes));
  if (demuxer == "asf" && AsfPackets::accepts(numbers)) return std::make_unique<AsfPackets>(std::move(bytes), numbers);
  if (demuxer == "avi" && numbers.size() == 2) return std::make_unique<AviPackets>(std::move(bytes), numbers);
  if (demuxer == "caf" && numbers.size() == 3) return std::make_unique<CafPackets>(std::move(bytes), numbers);
  if (demuxer == "matroska" && MatroskaPackets::accepts(numbers))
    return std::make_unique<MatroskaPackets>(std::move(bytes), numbers);
  return nullptr;
}

std::optional<ContainerLayout> begin_layout(const std::string& demuxer, const std::shared_ptr<const Bytes>& bytes,
                                            int track, const PacketPlace& first, const uint8_t* data, int64_t size) {
  if (demuxer == "asf") return begin_asf(*bytes, track, first);
  if (demuxer == "avi") return begin_avi(bytes, first);
  if (demuxer == "caf") return begin_caf(*bytes, first, size);
  if (demuxer == "matroska") return begin_matroska(bytes, first, data, size);
  if (demuxer != "aac") return std::nullopt;
  ContainerLayout layout;
  layout.first = first;
  return layout;
}

}  // namespace headrace
