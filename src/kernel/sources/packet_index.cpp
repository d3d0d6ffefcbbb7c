#include "sources/packet_index.h"

#include <algorithm>

#include "sources/packing.h"

namespace headrace {
namespace {

constexpr char VERSION = 1, VERSION_WITH_TABLE = 2, VERSION_WITH_LAYOUT = 3;  // of the packed form
constexpr int64_t MOST = int64_t{1} << 60;
constexpr int64_t MOST_PRE_ROLL = 1 << 10;
constexpr int64_t MOST_EXTRADATA = 1 << 16;
constexpr int64_t MOST_NUMBERS = 64, MOST_DROPPED = ContainerLayout::MOST_DROPPED;

void put_check(std::string* packed, uint16_t check) {
  packed->push_back(static_cast<char>(check & 255));
  packed->push_back(static_cast<char>(check >> 8));
}

bool take_check(Unpacker* from, uint16_t* check) {
  int64_t low = 0, high = 0;
  if (!from->take_byte(&low) || !from->take_byte(&high)) return false;
  *check = static_cast<uint16_t>(low | high << 8);
  return true;
}

void put_text(std::string* packed, const std::string& text) {
  put(packed, text.size());
  *packed += text;
}

bool take_text(Unpacker* from, int64_t most, std::string* text) {
  int64_t count = 0, byte = 0;
  if (!from->take(most, &count)) return false;
  for (int64_t i = 0; i < count; ++i) {
    if (!from->take_byte(&byte)) return false;
    text->push_back(static_cast<char>(byte));
  }
  return true;
}

void put_table(std::string* packed, const PacketIndex& index) {
  const SizeTable& table = *index.table;
  for (const int64_t value : {table.place, table.packets, table.offset, table.stop - table.offset, table.skip})
    put(packed, static_cast<uint64_t>(value));
  put_text(packed, table.extradata);
  put_check(packed, table.check);
  for (const Anchor& anchor : index.anchors) put(packed, static_cast<uint64_t>(anchor.stop - anchor.place.offset));
  put(packed, table.jumps.size());
  PacketJump last{0, table.offset};
  for (const PacketJump& jump : table.jumps) {
    put(packed, static_cast<uint64_t>(jump.packet - last.packet));
    put(packed, static_cast<uint64_t>(jump.offset - last.offset));
    last = jump;
  }
}

bool take_table(Unpacker* from, size_t size, PacketIndex* index) {
  SizeTable& table = index->table.emplace();
  int64_t count = 0, length = 0;
  if (!from->take(MOST, &table.place) || !from->take(MOST, &table.packets) || !from->take(MOST, &table.offset) ||
      !from->take(MOST, &length) || !from->take(MOST, &table.skip) ||
      !take_text(from, MOST_EXTRADATA, &table.extradata))
    return false;
  table.stop = table.offset + length;
  if (!take_check(from, &table.check)) return false;
  int64_t before = 0;
  for (Anchor& anchor : index->anchors) {
    before += anchor.packets;
    if (before >= table.packets || !from->take(MOST, &length)) return false;
    anchor.stop = anchor.place.offset + length;
  }
  if (!from->take(static_cast<int64_t>(size), &count)) return false;
  PacketJump last{0, table.offset};
  for (int64_t i = 0; i < count; ++i) {
    int64_t packets = 0;
    if (!from->take(MOST, &packets) || !from->take(MOST, &length) || packets < 1) return false;
    last = {last.packet + packets, last.offset + length};
    if (last.packet >= table.packets || last.offset > MOST) return false;
    table.jumps.push_back(last);
  }
  return true;
}

void put_layout(std::string* packed, const PacketIndex& index) {
  const ContainerLayout& layout = *index.layout;
  for (const int64_t value : layout.decoder.values) put_signed(packed, value);
  put_text(packed, layout.decoder.extradata);
  put(packed, layout.numbers.size());
  for (const int64_t value : layout.numbers) put(packed, static_cast<uint64_t>(value));
  for (const int64_t value : {layout.packets, layout.first.offset, layout.first.ordinal, layout.first.entry,
                              layout.stop - layout.first.offset, layout.entries_stop,
                              static_cast<int64_t>(layout.dropped.size())})
    put(packed, static_cast<uint64_t>(value));
  for (const DroppedFrames& one : layout.dropped)
    for (const int64_t value : {one.packet, int64_t{one.start}, int64_t{one.end}})
      put(packed, static_cast<uint64_t>(value));
  put_check(packed, layout.sizes);
  int64_t entry = layout.first.entry;
  for (const Anchor& anchor : index.anchors) {
    const PacketPlace& place = anchor.place;
    put(packed, static_cast<uint64_t>(anchor.stop - place.offset));
    put_check(packed, anchor.sizes);
    if (layout.entries_stop)
      put(packed, static_cast<uint64_t>(place.entry - entry));
    else
      put(packed, static_cast<uint64_t>(place.entry ? place.offset - place.entry : 0));
    entry = place.entry;
  }
}

bool take_layout(Unpacker* from, PacketIndex* index) {
  ContainerLayout& layout = index->layout.emplace();
  for (int64_t& value : layout.decoder.values)
    if (!from->take_signed(MOST, &value)) return false;
  int64_t count = 0, length = 0;
  if (!take_text(from, MOST_EXTRADATA, &layout.decoder.extradata) || !from->take(MOST_NUMBERS, &count)) return false;
  layout.numbers.resize(static_cast<size_t>(count));
  for (int64_t& value : layout.numbers)
    if (!from->take(MOST, &value)) return false;
  if (!from->take(MOST, &layout.packets) || !from->take(MOST, &layout.first.offset) ||
      !from->take(MOST, &layout.first.ordinal) || !from->take(MOST, &layout.first.entry) ||
      !from->take(MOST, &length) || !from->take(MOST, &layout.entries_stop) || !from->take(MOST_DROPPED, &count))
    return false;
  layout.stop = layout.first.offset + length;
  int64_t packet = 0, start = 0, end = 0;
  for (; count > 0; --count) {
    if (!from->take(MOST, &packet) || !from->take(UINT32_MAX, &start) || !from->take(UINT32_MAX, &end) ||
        packet >= layout.packets || (!layout.dropped.empty() && packet <= layout.dropped.back().packet))
      return false;
    layout.dropped.push_back({packet, static_cast<uint32_t>(start), static_cast<uint32_t>(end)});
  }
  if (!take_check(from, &layout.sizes)) return false;
  int64_t before = 0, entry = layout.first.entry;
  for (Anchor& anchor : index->anchors) {
    PacketPlace& place = anchor.place;
    before += anchor.packets;
    if (before >= layout.packets || !from->take(MOST, &length) || !take_check(from, &anchor.sizes)) return false;
    anchor.stop = place.offset + length;
    if (!from->take(MOST, &length)) return false;
    if (layout.entries_stop) {
      if (entry + length > layout.entries_stop) return false;
      place.entry = entry += length;
    } else {
      if (length > place.offset) return false;
      place.entry = length ? place.offset - length : 0;
    }
  }
  return true;
}

}  // namespace

uint16_t packet_check(const unsigned char* data, int64_t size) {
  uint32_t hash = 2166136261u ^ static_cast<uint32_t>(size);
  for (int64_t i = 0; i < size; ++i) hash = (hash ^ data[i]) * 16777619u;  // FNV-1a
  return static_cast<uint16_t>(hash ^ hash >> 16);
}

size_t PacketIndex::segment_of(int64_t frame) const {
  const auto after = std::upper_bound(anchors.begin(), anchors.end(), frame,
                                      [](int64_t at, const Anchor& anchor) { return at < anchor.start; });
  return static_cast<size_t>(after - anchors.begin());
}

std::pair<int64_t, int64_t> PacketIndex::packets_of(size_t segment) const {
  int64_t begin = 0;
  for (size_t i = 0; i < segment; ++i) begin += anchors[i].packets;
  const int64_t stop = segment < anchors.size() ? begin + anchors[segment].packets : table ? table->packets : layout ? layout->packets : -1;
  return {segment ? begin - pre_roll : 0, stop};
}

std::string pack(const PacketIndex& index) {
  std::string packed{PacketIndex::TAG, index.table    ? VERSION_WITH_TABLE
                                         : index.layout ? VERSION_WITH_LAYOUT
                                                        : VERSION,
                     static_cast<char>(index.forgets | index.continuous << 1)};
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
    put_check(&packed, anchor.place.check);
  }
  if (index.table) put_table(&packed, index);
  if (index.layout) put_layout(&packed, index);
  return packed + checksum(packed.data(), packed.size());
}

bool unpack(const char* packed, size_t size, PacketIndex* index) {
  if (size < 7 || packed[0] != PacketIndex::TAG || (packed[2] & ~3)) return false;
  if (packed[1] < VERSION || packed[1] > VERSION_WITH_LAYOUT) return false;
  size -= 4;
  if (checksum(packed, size) != std::string(packed + size, 4)) return false;
  index->forgets = packed[2] & 1;
  index->continuous = packed[2] & 2;
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
    if (!take_check(&from, &anchor.place.check)) return false;
    index->anchors.push_back(anchor);
  }
  index->table.reset();
  index->layout.reset();
  if (packed[1] == VERSION_WITH_TABLE && !take_table(&from, size, index)) return false;
  if (packed[1] == VERSION_WITH_LAYOUT && !take_layout(&from, index)) return false;
  return from.done();
}

}  // namespace headrace
