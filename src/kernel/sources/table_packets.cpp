#include "sources/table_packets.h"

#include <algorithm>
#include <cerrno>

#include "sources/decode_error.h"

namespace headrace {
namespace {

constexpr int64_t READ = 64 << 10;          // bytes that are read at once, at most, if packets are shorter

[[noreturn]] void throw_changed() {
  throw DecodeError("CHANGED", "the file's packets are not where they were when it was scanned: scan again");
}

}  // namespace

bool TablePackets::read(int64_t offset, void* to, int64_t count) {
  const int64_t got = bytes_->read(offset, to, count);
  if (got == count) return true;
  if (got < 0) error_ = -EIO;
  return false;
}

void TablePackets::load(size_t segment) {
  const SizeTable& table = *index_.table;
  items_.clear();
  const auto [first, stop] = index_.packets_of(segment);
  const auto [begin, end] = table.sizes(first, stop);
  if (end > bytes_->size()) throw_changed();
  std::vector<uint8_t> sizes(static_cast<size_t>(end - begin));
  if (!read(begin, sizes.data(), end - begin)) {
    if (error_) throw DecodeError("IO", "the file cannot be read");
    throw_changed();
  }
  const uint16_t check = segment ? index_.anchors[segment - 1].place.check : table.check;
  if (packet_check(sizes.data(), end - begin) != check) throw_changed();
  auto jump = std::upper_bound(table.jumps.begin(), table.jumps.end(), first,
                               [](int64_t packet, const PacketJump& one) { return packet < one.packet; });
  int64_t offset = segment ? index_.anchors[segment - 1].place.offset : table.offset;
  size_t run = 0;  // the first item of those that follow each other
  const auto end_run = [&](int64_t at) {
    for (; run < items_.size(); ++run) items_[run].run_stop = at;
  };
  for (int64_t i = first; i < stop; ++i) {
    if (jump != table.jumps.end() && jump->packet == i) {
      end_run(offset);
      offset = jump++->offset;
    }
    const uint8_t* four = sizes.data() + 4 * (i - first);
    const int64_t size = static_cast<int64_t>(four[0]) << 24 | four[1] << 16 | four[2] << 8 | four[3];
    if (size < 1 || size > MOST_PACKET) throw_changed();
    items_.push_back({offset, size, 0});
    offset += size;
  }
  end_run(offset);
  segment_ = segment;
  first_ = first;
}

void TablePackets::seek(size_t segment) {
  error_ = 0;
  load(segment);
  at_ = first_;
}

bool TablePackets::next(ffmpeg::Packet* packet) {
  error_ = 0;
  if (ended()) return false;
  if (items_.empty() || at_ == first_ + static_cast<int64_t>(items_.size())) {
    const int64_t at = at_;
    load(items_.empty() ? 0 : segment_ + 1);
    at_ = at;
  }
  const Item& item = items_[static_cast<size_t>(at_ - first_)];
  if (item.offset < buffer_offset_ || item.offset + item.size > buffer_offset_ + buffer_size_) {
    int64_t count = std::max(item.size, std::min(READ, item.run_stop - item.offset));
    count = std::max(item.size, bytes_->at_hand(item.offset, count));
    buffer_.resize(static_cast<size_t>(count));
    buffer_size_ = 0;
    buffer_offset_ = item.offset;
    const int64_t got = bytes_->read(item.offset, buffer_.data(), count);
    if (got < item.size) {
      error_ = got < 0 ? -EIO : 0;
      return false;
    }
    buffer_size_ = got;
  }
  packet->data = buffer_.data() + (item.offset - buffer_offset_);
  packet->size = static_cast<int>(item.size);
  ++at_;
  return true;
}

}  // namespace headrace
