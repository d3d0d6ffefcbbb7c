#include "sources/container_packets.h"

#include <algorithm>
#include <utility>

#include "sources/adts_packets.h"
#include "sources/asf_packets.h"
#include "sources/caf_packets.h"

namespace headrace {
namespace {

constexpr int64_t READ = 64 << 10;  // bytes that are read at once, if less is asked for: as in table_packets.cpp

}  // namespace

const uint8_t* BufferedBytes::at(int64_t offset, int64_t count) {
  failed_ = false;
  if (offset < 0 || count < 0 || offset > bytes_->size() || count > bytes_->size() - offset) return nullptr;
  if (offset < offset_ || offset + count > offset_ + size_) {
    const int64_t wanted = std::max(count, bytes_->at_hand(offset, std::max(count, READ)));
    buffer_.resize(static_cast<size_t>(wanted));
    size_ = 0;
    offset_ = offset;
    const int64_t got = bytes_->read(offset, buffer_.data(), wanted);
    failed_ = got < 0;
    if (got < count) return nullptr;
    size_ = got;
  }
  return buffer_.data() + (offset - offset_);
}

std::unique_ptr<ContainerPackets> open_container(const std::string& demuxer, std::unique_ptr<Bytes> bytes,
                                                 const std::vector<int64_t>& numbers) {
  if (demuxer == "aac" && numbers.empty()) return std::make_unique<AdtsPackets>(std::move(bytes));
  if (demuxer == "asf" && AsfPackets::accepts(numbers)) return std::make_unique<AsfPackets>(std::move(bytes), numbers);
  if (demuxer == "caf" && numbers.size() == 3) return std::make_unique<CafPackets>(std::move(bytes), numbers);
  return nullptr;
}

std::optional<ContainerLayout> begin_layout(const std::string& demuxer, const Bytes& bytes, int track,
                                            const PacketPlace& first, int64_t size) {
  if (demuxer == "asf") return begin_asf(bytes, track, first);
  if (demuxer == "caf") return begin_caf(bytes, first, size);
  if (demuxer != "aac") return std::nullopt;
  ContainerLayout layout;
  layout.first = first;
  return layout;
}

}  // namespace headrace
