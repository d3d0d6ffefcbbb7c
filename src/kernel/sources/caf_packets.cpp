#include "sources/caf_packets.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace headrace {
namespace {

constexpr int MOST_CHUNKS = 64;
constexpr int64_t TABLE_HEAD = 24;         // bytes of a packet table before its entries
constexpr int64_t DESCRIPTION = 32;        // bytes

int64_t big_endian(const uint8_t* from, int count) {
  uint64_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | from[i];
  return static_cast<int64_t>(value);
}

}  // namespace

CafPackets::CafPackets(std::shared_ptr<const Bytes> bytes, const std::vector<int64_t>& numbers)
    : bytes_(bytes), table_(bytes), size_(numbers[0]), lists_frames_(numbers[1] != 0), data_stop_(numbers[2]) {}

void CafPackets::seek(const PacketPlace& place) {
  at_ = place.offset;
  entry_ = place.entry;
}

// Take a number from the table: seven bits in each byte, the highest first.
bool CafPackets::take_number(int64_t* value) {
  *value = 0;
  for (int i = 0; i < 4; ++i) {
    const uint8_t* byte = table_.at(entry_, 1);
    if (!byte) return false;
    ++entry_;
    *value = *value << 7 | (*byte & 127);
    if (*byte < 128) break;
  }
  return true;
}

// Take the size of the next packet.
bool CafPackets::take_size(int64_t* size) {
  *size = std::min(size_, data_stop_ - at_);
  int64_t frames = 0;
  const bool told = size_ || (take_number(size) && (!lists_frames_ || take_number(&frames)));
  failed_ = table_.failed();
  return told && *size >= 1 && *size <= MOST_PACKET && *size <= data_stop_ - at_;
}

bool CafPackets::next(ContainerPacket* packet) {
  const PacketPlace place{at_, 0, PacketPlace::NO_TIME, 0, entry_};
  int64_t size = 0;
  if (!take_size(&size)) return false;
  *packet = {bytes_.at(at_, size), size, place, at_ + size};
  failed_ = bytes_.failed();
  at_ += size;
  return packet->data != nullptr;
}

std::optional<ContainerLayout> begin_caf(const Bytes& bytes, const PacketPlace& first, int64_t size) {
  uint8_t head[12 + DESCRIPTION];
  int64_t at = 8, data_stop = 0;  // behind the name of the format
  bool is_constant = false, lists_frames = false;
  ContainerLayout layout;
  layout.first = first;
  for (int n = 0; n < MOST_CHUNKS; ++n) {
    const int64_t got = bytes.read(at, head, sizeof head);
    if (got < 12) break;
    int64_t length = big_endian(head + 4, 8);
    const int64_t left = bytes.size() - at - 12;
    if (length == -1 && !std::memcmp(head, "data", 4)) length = left;  // to the end of the file
    if (length < 0 || length > left) return std::nullopt;
    const int64_t begin = at + 12;
    at = begin + length;
    if (!std::memcmp(head, "desc", 4)) {
      if (length != DESCRIPTION || got < static_cast<int64_t>(sizeof head)) return std::nullopt;
      is_constant = big_endian(head + 28, 4) != 0;
      lists_frames = big_endian(head + 32, 4) == 0;
    } else if (!std::memcmp(head, "data", 4)) {
      data_stop = at;
    } else if (!std::memcmp(head, "pakt", 4) && length >= TABLE_HEAD) {
      layout.first.entry = begin + TABLE_HEAD;
      layout.entries_stop = at;
    }
  }
  if (!data_stop || (!is_constant && !layout.entries_stop)) return std::nullopt;
  if (is_constant) layout.first.entry = layout.entries_stop = 0;
  layout.numbers = {is_constant ? size : 0, lists_frames, data_stop};
  return layout;
}

}  // namespace headrace
