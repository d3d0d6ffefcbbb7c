#include "sources/packet_index.h"

#include "sources/packing.h"

namespace headrace {
namespace {

constexpr char VERSION = 1;  // of the packed form
constexpr int64_t MOST = int64_t{1} << 60;
constexpr int64_t MOST_PRE_ROLL = 1 << 10;

}  // namespace

uint16_t packet_check(const unsigned char* data, int64_t size) {
  uint32_t hash = 2166136261u ^ static_cast<uint32_t>(size);
  for (int64_t i = 0; i < size; ++i) hash = (hash ^ data[i]) * 16777619u;  // FNV-1a
  return static_cast<uint16_t>(hash ^ hash >> 16);
}

std::string pack(const PacketIndex& index) {
  std::string packed{PacketIndex::TAG, VERSION, static_cast<char>(index.forgets)};
  for (const int64_t value : {index.decoder_major, index.pre_roll, index.frames,
                              static_cast<int64_t>(index.anchors.size())})
    put(&packed, static_cast<uint64_t>(value));
  // Store how the distances between anchors change: most of them hardly do.
  Anchor last, distance;
  for (const Anchor& anchor : index.anchors) {
    const auto put_change = [&](int64_t now, int64_t* was, int64_t* step) {
      put_signed(&packed, now - *was - *step);
      *step = now - *was;
      *was = now;
    };
    put_change(anchor.start, &last.start, &distance.start);
    put_signed(&packed, anchor.packets - last.packets);
    last.packets = anchor.packets;
    put_change(anchor.place.offset, &last.place.offset, &distance.place.offset);
    put(&packed, static_cast<uint64_t>(anchor.place.ordinal) << 1 |
                     (anchor.place.time == PacketPlace::NO_TIME));
    if (anchor.place.time != PacketPlace::NO_TIME)
      put_change(anchor.place.time, &last.place.time, &distance.place.time);
    packed.push_back(static_cast<char>(anchor.place.check & 255));
    packed.push_back(static_cast<char>(anchor.place.check >> 8));
  }
  return packed + checksum(packed.data(), packed.size());
}

bool unpack(const char* packed, size_t size, PacketIndex* index) {
  if (size < 7 || packed[0] != PacketIndex::TAG || packed[1] != VERSION || (packed[2] & ~1)) return false;
  size -= 4;
  if (checksum(packed, size) != std::string(packed + size, 4)) return false;
  index->forgets = packed[2] & 1;
  Unpacker from(packed + 3, size - 3);
  int64_t count = 0, change = 0, value = 0;
  if (!from.take(1 << 16, &index->decoder_major) || !from.take(MOST_PRE_ROLL, &index->pre_roll) ||
      !from.take(MOST, &index->frames) || !from.take(static_cast<int64_t>(size), &count) ||
      index->pre_roll < 1)
    return false;
  Anchor last, distance;
  index->anchors.clear();
  const auto take_change = [&](int64_t* was, int64_t* step) {
    // Sums of numbers up to 2^60 could pass 63 bits: each is checked before the next is added.
    if (!from.take_signed(MOST, &change)) return false;
    *step += change;
    if (*step > MOST || *step < -MOST) return false;
    *was += *step;
    return *was <= MOST && *was >= -MOST;
  };
  for (int64_t i = 0; i < count; ++i) {
    const int64_t before = last.start;
    if (!take_change(&last.start, &distance.start) || last.start <= before || last.start > index->frames ||
        !from.take_signed(MOST, &change))
      return false;
    last.packets += change;
    if (last.packets < index->pre_roll || last.packets > MOST) return false;
    if (!take_change(&last.place.offset, &distance.place.offset) || last.place.offset < 0 ||
        !from.take(MOST, &value))
      return false;
    last.place.ordinal = value >> 1;
    Anchor anchor = last;
    if (value & 1) {
      anchor.place.time = PacketPlace::NO_TIME;
    } else {
      if (!take_change(&last.place.time, &distance.place.time)) return false;
      anchor.place.time = last.place.time;
    }
    if (!from.take_byte(&value)) return false;
    anchor.place.check = static_cast<uint16_t>(value);
    if (!from.take_byte(&value)) return false;
    anchor.place.check = static_cast<uint16_t>(anchor.place.check | value << 8);
    index->anchors.push_back(anchor);
  }
  return from.done();
}

}  // namespace headrace
