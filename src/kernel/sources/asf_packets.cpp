#include "sources/asf_packets.h"

#include <algorithm>
#include <cstring>

#include "sources/little_endian.h"

namespace headrace {
namespace {

constexpr int64_t MOST_BLOCK = 1 << 20;   // bytes. A guess
constexpr int MOST_OBJECTS = 64;          // of a header
constexpr uint8_t HEADER[] = {0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11, 0xa6, 0xd9, 0x00, 0xaa, 0x00, 0x62, 0xce, 0x6c};
constexpr uint8_t FILE_PROPERTIES[] = {0xa1, 0xdc, 0xab, 0x8c, 0x47, 0xa9, 0xcf, 0x11, 0x8e, 0xe4, 0x00, 0xc0, 0x0c, 0x20, 0x53, 0x65};

// Takes numbers from a block, the lowest byte first.
class Fields {
 public:
  Fields(const uint8_t* from, int64_t size) : from_(from), size_(size) {}

  // Take a number of 0, 1, 2 or 4 bytes, as two bits say: `none` if there is none.
  int64_t take_coded(int code, int64_t none = 0) {
    return code & 3 ? take((code & 3) == 3 ? 4 : code & 3) : none;
  }
  int64_t take(int64_t count) {
    const int64_t held = std::max<int64_t>(0, std::min(count, size_ - at));
    const uint64_t value = held ? little_endian(from_ + at, static_cast<int>(held)) : 0;
    at += count;
    return static_cast<int64_t>(value);
  }
  bool is_within(int64_t stop) const { return at <= stop && stop <= size_; }

  int64_t at = 0;

 private:
  const uint8_t* from_;
  const int64_t size_;
};

}  // namespace

void AsfPackets::seek(const PacketPlace& place) {
  block_ = place.offset;
  is_loaded_ = false;
  joined_.clear();
  payloads_.clear();
  next_payload_ = 0;
  number_ = -1;
  ContainerPacket packet;
  ordinal_ = 0;
  while (ordinal_ < place.ordinal && (!is_loaded_ || block_ == place.offset))
    if (!next(&packet)) break;
}

// The bytes of the current block; null if they cannot be read.
const uint8_t* AsfPackets::load() {
  const uint8_t* block = bytes_.at(block_, block_size_);
  if (!block || is_loaded_) return block;
  payloads_.clear();
  next_payload_ = 0;
  ordinal_ = 0;
  is_loaded_ = true;
  is_damaged_ = !parse(block);
  return block;
}

bool AsfPackets::accepts(const std::vector<int64_t>& numbers) {
  return numbers.size() == 2 && numbers[0] >= 1 && numbers[0] <= MOST_BLOCK;
}

// List the stream's payloads in a block. Return false behind the last one that is understood.
bool AsfPackets::parse(const uint8_t* block) {
  Fields fields(block, block_size_);
  int64_t flags = fields.take(1);
  if (flags & 0x80) {  // error correction data, of which there is one kind
    if (flags != 0x82 || fields.take(2)) return false;
    flags = fields.take(1);
  }
  const auto property = static_cast<int>(fields.take(1));
  const auto lengths = static_cast<int>(flags);
  if (fields.take_coded(lengths >> 5, block_size_) != block_size_) return false;
  fields.take_coded(lengths >> 1);  // a sequence number
  const int64_t stop = block_size_ - fields.take_coded(lengths >> 3);  // padding follows
  fields.take(6);  // times
  const bool several = flags & 1;
  const auto count = static_cast<int>(several ? fields.take(1) : 1);
  for (int n = several ? count & 63 : 1; n > 0; --n) {
    const int64_t stream = fields.take(1) & 127;
    int64_t number = fields.take_coded(property >> 4);
    const int64_t numbers = int64_t{1} << 8 * ((property >> 4 & 3) == 3 ? 4 : property >> 4 & 3);
    const int64_t before = fields.take_coded(property >> 2), replicated = fields.take_coded(property);
    const bool shared = replicated == 1;
    if ((!shared && replicated < 8) || numbers == 1) return false;
    const int64_t whole = shared ? 0 : fields.take(4);
    fields.at += shared ? 1 : replicated - 4;
    const int64_t size = several ? fields.take_coded(count >> 6) : stop - fields.at;
    if (size < 1 || !fields.is_within(stop) || size > stop - fields.at) return false;
    const int64_t end = fields.at + size;
    if (stream == stream_ && !shared) {
      payloads_.push_back({fields.at, size, before, whole, number, numbers});
    } else if (stream == stream_) {
      while (fields.at < end) {
        const int64_t part = fields.take(1);
        if (part < 1 || part > end - fields.at) return false;
        payloads_.push_back({fields.at, part, 0, part, number, numbers});
        number = (number + 1) % numbers;
        fields.at += part;
      }
    }
    fields.at = end;
  }
  return true;
}

bool AsfPackets::next(ContainerPacket* packet) {
  for (;;) {
    const uint8_t* block = load();
    if (!block) return false;
    if (next_payload_ == payloads_.size()) {
      if (is_damaged_) return false;
      block_ += block_size_;
      is_loaded_ = false;
      continue;
    }
    const Payload& payload = payloads_[next_payload_++];
    const bool begins = payload.before == 0;
    if (begins != joined_.empty()) {
      if (begins) return false;  // the packet before it has no end
      continue;                  // it began before the place that was sought
    }
    const int64_t expected = number_ < 0 ? payload.number : (number_ + begins) % payload.numbers;
    if (payload.number != expected) return false;
    number_ = payload.number;
    if (begins) joined_place_ = {block_, ordinal_++, PacketPlace::NO_TIME, 0, 0};
    if (payload.whole > MOST_PACKET || static_cast<int64_t>(joined_.size()) != payload.before ||
        payload.size > payload.whole - payload.before)
      return false;
    const uint8_t* data = block + payload.at;
    const int64_t size = payload.before + payload.size;
    if (!begins || size < payload.whole) joined_.insert(joined_.end(), data, data + payload.size);
    if (size < payload.whole) continue;
    if (!begins) {
      whole_.swap(joined_);
      joined_.clear();
      data = whole_.data();
    }
    *packet = {data, size, joined_place_, block_ + block_size_};
    return true;
  }
}

std::optional<ContainerLayout> begin_asf(const Bytes& bytes, int stream, const PacketPlace& first) {
  uint8_t head[104];
  if (bytes.read(0, head, 30) != 30 || std::memcmp(head, HEADER, sizeof HEADER) != 0) return std::nullopt;
  const auto stop = static_cast<int64_t>(little_endian(head + 16, 8));
  int64_t at = 30;
  for (int n = 0; n < MOST_OBJECTS && at < stop; ++n) {
    if (bytes.read(at, head, sizeof head) != sizeof head) return std::nullopt;
    if (std::memcmp(head, FILE_PROPERTIES, sizeof FILE_PROPERTIES) == 0) {
      const auto least = static_cast<int64_t>(little_endian(head + 92, 4));
      const auto most = static_cast<int64_t>(little_endian(head + 96, 4));
      if (least != most || most < 1 || most > MOST_BLOCK || stream < 0) return std::nullopt;
      ContainerLayout layout;
      layout.first = first;
      layout.numbers = {most, stream};
      return layout;
    }
    const auto size = static_cast<int64_t>(little_endian(head + 16, 8));
    if (size < 24 || size > bytes.size() - at) return std::nullopt;
    at += size;
  }
  return std::nullopt;
}

}  // namespace headrace
