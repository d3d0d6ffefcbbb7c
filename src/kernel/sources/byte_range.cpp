#include "sources/byte_range.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "sources/mp3_index.h"
#include "sources/ogg_index.h"
#include "sources/packet_index.h"

namespace headrace {
namespace {

constexpr int64_t SLACK = 2048;  // bytes behind the last packet: of headers between packets. A guess
constexpr double UNEVEN = 1.1;   // how much longer packets may be than those around them. A guess
constexpr int64_t PAGE = 6 << 10;  // bytes of a page of Ogg: encoders end them at 4 KiB, or each second. A guess
constexpr int64_t BEFORE = 8;    // MP3 frames before the first one: for its bit reservoir
constexpr int64_t BEHIND = 4;    // MP3 frames that the decoder reads ahead

ByteRange of_mp3(const Mp3Index& index, int64_t start, int64_t stop) {
  if (!index.random_access || index.samples < 1) return {0, index.end};
  const auto points = static_cast<int64_t>(index.points.size());
  const auto offset = [&](int64_t point) {
    return point < points ? index.points[static_cast<size_t>(std::max<int64_t>(0, point))] : index.end;
  };
  const int64_t first = std::max<int64_t>(0, (start + index.skip) / index.samples - BEFORE);
  const int64_t last = (stop + index.skip) / index.samples + 1 + BEHIND;
  const int64_t point = last / Mp3Index::EVERY;
  const double share = static_cast<double>(last % Mp3Index::EVERY) / Mp3Index::EVERY;
  const auto part = static_cast<double>(offset(point + 1) - offset(point)) * share * UNEVEN;
  const int64_t end = offset(point) + static_cast<int64_t>(part) + SLACK;
  return {offset(first / Mp3Index::EVERY), std::min(end, std::max(index.end, offset(point + 1)))};
}

constexpr int64_t ENTRY = 16;  // bytes of a packet's entry in a container's table, at most

// The segments [first, last] that frames are in.
std::pair<size_t, size_t> segments_of(const PacketIndex& index, int64_t start, int64_t stop) {
  return {index.segment_of(start), index.segment_of(std::max(start, stop - 1))};
}

// The sizes and the packets of whole segments.
std::vector<ByteRange> of_table(const PacketIndex& index, int64_t start, int64_t stop) {
  const SizeTable& table = *index.table;
  const auto [first, last] = segments_of(index, start, stop);
  const auto [begin, end] = table.sizes(index.packets_of(first).first, index.packets_of(last).second);
  return {{begin, end},
          {first ? index.anchors[first - 1].place.offset : table.offset,
           last < index.anchors.size() ? index.anchors[last].stop : table.stop}};
}

std::vector<ByteRange> of_layout(const PacketIndex& index, int64_t start, int64_t stop) {
  const ContainerLayout& layout = *index.layout;
  const auto [first, last] = segments_of(index, start, stop);
  const PacketPlace& begin = first ? index.anchors[first - 1].place : layout.first;
  const bool ends = last == index.anchors.size();
  const bool stands_in = begin.entry && !layout.entries_stop;
  std::vector<ByteRange> ranges{{stands_in ? begin.entry : begin.offset, ends ? layout.stop : index.anchors[last].stop}};
  if (layout.entries_stop)  // behind the place of an anchor stand the packets of its pre-roll
    ranges.push_back({begin.entry, ends ? layout.entries_stop
                                        : std::min(layout.entries_stop, index.anchors[last].place.entry +
                                                                            ENTRY * index.pre_roll)});
  return ranges;
}

ByteRange of_packets(const PacketIndex& index, int64_t start, int64_t stop, int64_t size) {
  const Anchor none;  // the first segment begins with the file
  const auto anchor_of = [&](size_t segment) -> const Anchor& {
    return segment ? index.anchors[segment - 1] : none;
  };
  const int64_t begin = anchor_of(index.segment_of(start)).place.offset;
  const size_t last = index.segment_of(std::max(start, stop - 1));
  if (last == index.anchors.size() || index.anchors[last].packets < 1) return {begin, size};
  const Anchor &before = anchor_of(last), &next = index.anchors[last];
  const int64_t low = before.place.offset;
  const double packet = static_cast<double>(next.place.offset - low) / static_cast<double>(next.packets);
  const double share = static_cast<double>(stop - before.start) / static_cast<double>(next.start - before.start);
  const double packets = share * static_cast<double>(next.packets) + static_cast<double>(index.pre_roll + 2);
  return {begin, low + static_cast<int64_t>(std::ceil(packets * packet * UNEVEN)) + SLACK};
}

// The last block up to the page that has the last packet, and not up to the next anchor.
std::vector<ByteRange> of_ogg(const OggIndex& index, int64_t start, int64_t stop) {
  std::vector<ByteRange> ranges;
  for (const auto& [begin, end] : index.header_ranges(start)) ranges.push_back({begin, end, true});
  const auto [begin, block_end] = index.byte_range(start, std::max(start, stop));
  int64_t end = block_end;
  const auto& anchors = index.links[index.link_at(std::max(start, stop - 1))].anchors;
  const auto next = std::partition_point(anchors.begin(), anchors.end(),
                                         [&](const OggAnchor& anchor) { return anchor.offset < block_end; });
  if (next != anchors.end() && next != anchors.begin()) {
    const OggAnchor& last = *(next - 1);
    const int64_t bytes = next->offset - last.offset, from = last.start - last.skip;
    const double share = static_cast<double>(stop - from) / static_cast<double>(next->start - next->skip - from);
    const double needed = share * UNEVEN * static_cast<double>(bytes) + PAGE;
    end = std::min(end, last.offset + static_cast<int64_t>(needed));
  }
  ranges.push_back({begin, end});
  return ranges;
}

}  // namespace

std::vector<ByteRange> byte_ranges(const std::string& seek_points, int64_t start, int64_t stop, int64_t size) {
  if (seek_points.empty()) return {};
  Mp3Index mp3;
  PacketIndex packets;
  OggIndex ogg;
  std::vector<ByteRange> ranges;
  if (seek_points[0] == PacketIndex::TAG && unpack(seek_points.data(), seek_points.size(), &packets))
    ranges = packets.table    ? of_table(packets, start, stop)
             : packets.layout ? of_layout(packets, start, stop)
                              : std::vector{of_packets(packets, start, stop, size)};
  else if (seek_points[0] == OggIndex::TAG && unpack(seek_points.data(), seek_points.size(), &ogg))
    ranges = of_ogg(ogg, start, stop);
  else if (unpack(seek_points.data(), seek_points.size(), &mp3))
    ranges = {of_mp3(mp3, start, stop)};
  for (ByteRange& range : ranges) {
    range.begin = std::max<int64_t>(0, std::min(range.begin, size));
    range.end = std::max(range.begin, std::min(range.end, size));
  }
  std::sort(ranges.begin(), ranges.end(), [](const ByteRange& a, const ByteRange& b) { return a.begin < b.begin; });
  return ranges;
}

}  // namespace headrace
