#include "sources/matroska_packets.h"

#include <algorithm>
#include <utility>

namespace headrace {
namespace {

constexpr int64_t MOST = int64_t{1} << 60;
constexpr int64_t MOST_PREFIX = 32;      // bytes. A guess: of MP3 up to four are seen

// Names of elements: RFC 9559, section 5.
constexpr uint64_t SEGMENT = 0x18538067, CLUSTER = 0x1F43B675, GROUP = 0xA0, BLOCK = 0xA1, SIMPLE_BLOCK = 0xA3;

enum Lacing { NONE, XIPH, FIXED, EBML };  // section 10.2

// A number whose length is told by the zeros that it begins with (RFC 8794, section 4).
struct Number {
  uint64_t marked = 0;  // with the bit that ends the zeros, as in names
  int length = 0;       // bytes; 0 if it cannot be read

  explicit operator bool() const { return length > 0; }
  uint64_t mask() const { return (uint64_t{1} << 7 * length) - 1; }
  int64_t value() const { return static_cast<int64_t>(marked & mask()); }
  bool is_unknown() const { return (marked & mask()) == mask(); }  // as a size
};

// Only its own bytes are read. `stop` is where it has to end.
Number number_at(BufferedBytes* bytes, int64_t offset, int longest, int64_t stop = MOST) {
  const uint8_t* from = offset < stop ? bytes->at(offset, 1) : nullptr;
  int length = 1;
  while (from && length <= longest && !(from[0] & 0x80 >> (length - 1))) ++length;
  if (!from || length > longest || length > stop - offset || !(from = bytes->at(offset, length))) return {};
  Number number{0, length};
  for (int i = 0; i < length; ++i) number.marked = number.marked << 8 | from[i];
  return number;
}

}  // namespace

bool MatroskaPackets::accepts(const std::vector<int64_t>& numbers) {
  return !numbers.empty() && std::all_of(numbers.begin() + 1, numbers.end(), [](int64_t one) { return one < 256; });
}

void MatroskaPackets::seek(const PacketPlace& place) {
  at_ = place.entry;
  sizes_.clear();
  given_ = 0;
  for (int64_t i = place.ordinal; i > 0; --i)
    if (!next_size()) break;
}

bool MatroskaPackets::next(ContainerPacket* packet) {
  if (!next_size()) return false;
  const int64_t size = sizes_[given_ - 1], begin = data_ - size;
  const uint8_t* data = bytes_.at(begin, size);
  if (!data) return false;
  if (!prefix_.empty()) {
    joined_.assign(prefix_.begin(), prefix_.end());
    joined_.insert(joined_.end(), data, data + size);
    data = joined_.data();
  }
  *packet = {data, size + static_cast<int64_t>(prefix_.size()), place_, data_};
  packet->place.ordinal = static_cast<int64_t>(given_) - 1;
  return true;
}

// Go past the next packet. Return false where there is none.
bool MatroskaPackets::next_size() {
  while (given_ == sizes_.size())
    if (!next_element()) return false;
  data_ += sizes_[given_++];
  return true;
}

// Enter an element, or pass over it. Return false where there is none.
bool MatroskaPackets::next_element() {
  const Number name = number_at(&bytes_, at_, 4);
  const Number size = name ? number_at(&bytes_, at_ + name.length, 8) : Number{};
  if (!size) return false;
  const int64_t content = at_ + name.length + size.length;
  if (name.marked == SEGMENT || name.marked == CLUSTER || name.marked == GROUP) {
    at_ = content;
    return true;
  }
  if (size.is_unknown()) return false;
  const bool is_block = name.marked == BLOCK || name.marked == SIMPLE_BLOCK;
  if (is_block && !read_block(content, size.value())) return false;
  at_ = content + size.value();
  return true;
}

bool MatroskaPackets::read_block(int64_t content, int64_t size) {
  const int64_t stop = content + size;
  const Number track = number_at(&bytes_, content, 8, stop);
  int64_t begin = content + track.length;
  const uint8_t* time_and_flags = track && stop - begin > 3 ? bytes_.at(begin, 3) : nullptr;
  if (!time_and_flags) return false;
  if (track.value() != track_) return true;
  begin += 3;
  const int lacing = time_and_flags[2] >> 1 & 3;
  sizes_.clear();
  given_ = 0;
  if (lacing != NONE) {
    const uint8_t* last = bytes_.at(begin, 1);
    if (!last) return false;
    begin = read_sizes(begin + 1, stop, int64_t{1} + *last, lacing);
    if (begin < 0) return false;
  } else {
    sizes_.push_back(stop - begin);
  }
  place_ = {content, 0, PacketPlace::NO_TIME, 0, at_};
  data_ = begin;
  return std::all_of(sizes_.begin(), sizes_.end(), [](int64_t one) { return one > 0 && one <= MOST_PACKET; });
}

// The sizes of `count` packets stand at `begin`, and the packets up to `stop`. Return where they begin; -1 on damage.
int64_t MatroskaPackets::read_sizes(int64_t begin, int64_t stop, int64_t count, int lacing) {
  if (lacing == FIXED) {
    if ((stop - begin) % count) return -1;
    sizes_.assign(static_cast<size_t>(count), (stop - begin) / count);
    return begin;
  }
  int64_t size = 0, sum = 0;
  for (int64_t i = 0; i + 1 < count; ++i) {
    if (lacing == XIPH) {
      size = 0;
      for (uint8_t last = 255; last == 255; ++begin) {
        const uint8_t* byte = begin < stop ? bytes_.at(begin, 1) : nullptr;
        if (!byte) return -1;
        size += last = *byte;
      }
    } else {  // the first size, and then how much each differs from the one before
      const Number number = number_at(&bytes_, begin, 8, stop);
      if (!number) return -1;
      size = i == 0 ? number.value() : size + number.value() - static_cast<int64_t>(number.mask() >> 1);
      begin += number.length;
    }
    sum += size;
    if (size < 0 || sum > stop - begin) return -1;
    sizes_.push_back(size);
  }
  sizes_.push_back(stop - begin - sum);
  return begin;
}

std::optional<ContainerLayout> begin_matroska(std::shared_ptr<const Bytes> bytes, const PacketPlace& first,
                                              const uint8_t* first_data, int64_t size) {
  BufferedBytes head(bytes);
  const Number track = number_at(&head, first.offset, 8);
  if (!track) return std::nullopt;
  ContainerLayout layout;
  layout.numbers = {track.value()};
  MatroskaPackets packets(std::move(bytes), layout.numbers);
  packets.seek({});
  ContainerPacket found;
  if (!packets.next(&found) || found.size > size || size - found.size > MOST_PREFIX) return std::nullopt;
  layout.numbers.insert(layout.numbers.end(), first_data, first_data + (size - found.size));
  layout.first = found.place;
  return layout;
}

}  // namespace headrace
