#include "sources/ogg_index.h"

#include <algorithm>

#include "sources/packing.h"

namespace headrace {
namespace {

constexpr char VERSION = 1;  // of the packed form
constexpr int64_t MOST = int64_t{1} << 60;

// A page that holds the header that begins a stream is no longer: it has one packet, and its headers have
// fixed sizes. Opus has the longest, with 255 channels.
constexpr int64_t HEAD_BYTES = 27 + 2 + 21 + 255;

// Opus' decoder may give frames that much later than it is fed them: at the change of its two halves.
// tests/codecs/test_ogg.py has files in which it is 24.
constexpr int64_t LATE = 480;

}  // namespace

size_t OggIndex::link_at(int64_t frame) const {
  const auto after = std::upper_bound(links.begin(), links.end(), frame,
                                      [](int64_t f, const OggLink& link) { return f < link.start; });
  return after == links.begin() ? 0 : static_cast<size_t>(after - links.begin() - 1);
}

int64_t OggIndex::block_stop(size_t link, int64_t offset) const {
  const auto& anchors = links[link].anchors;
  const auto next = std::upper_bound(anchors.begin(), anchors.end(), offset,
                                     [](int64_t o, const OggAnchor& anchor) { return o < anchor.offset; });
  if (next != anchors.end()) return next->offset;
  return link + 1 < links.size() ? links[link + 1].offset : stop_offset;
}

std::pair<int64_t, int64_t> OggIndex::byte_range(int64_t start, int64_t stop) const {
  const OggLink& first = links[link_at(start)];
  const auto after = std::upper_bound(first.anchors.begin(), first.anchors.end(), start,
                                      [](int64_t f, const OggAnchor& anchor) { return f < anchor.start; });
  const int64_t from = after == first.anchors.begin() ? first.audio_offset : (after - 1)->offset;
  const size_t last = link_at(std::max(start, stop - 1));
  const int64_t needed = stop + (codec == OggCodec::OPUS ? LATE : 0);
  const auto& anchors = links[last].anchors;
  const auto next = std::partition_point(anchors.begin(), anchors.end(), [&](const OggAnchor& anchor) {
    return anchor.start - anchor.skip < needed;
  });
  if (next != anchors.end()) return {from, next->offset};
  return {from, last + 1 < links.size() ? links[last + 1].offset : stop_offset};
}

std::vector<std::pair<int64_t, int64_t>> OggIndex::header_ranges(int64_t frame) const {
  const OggLink& link = links[link_at(frame)];
  std::vector<std::pair<int64_t, int64_t>> ranges{
      {link.offset, std::min(link.offset + HEAD_BYTES, link.audio_offset)}};
  if (codec == OggCodec::VORBIS) ranges.emplace_back(link.setup_offset, link.audio_offset);
  return ranges;
}

std::string pack(const OggIndex& index) {
  std::string packed{OggIndex::TAG, VERSION, static_cast<char>(index.codec == OggCodec::OPUS)};
  const auto put_all = [&](std::initializer_list<int64_t> values) {
    for (const int64_t value : values) put(&packed, static_cast<uint64_t>(value));
  };
  put_all({index.decoder_major, index.frames, index.stop_offset, static_cast<int64_t>(index.links.size()),
           static_cast<int64_t>(index.gaps.size())});
  int64_t start = 0, offset = 0;
  for (const OggLink& link : index.links) {
    put_all({link.start - start, link.trim, link.offset - offset, link.setup_offset - link.offset,
             link.audio_offset - link.setup_offset, static_cast<int64_t>(link.anchors.size())});
    start = link.start;
    offset = link.offset;
    // Store how the distances between anchors change: most of them hardly do.
    OggAnchor last{link.start, 0, link.audio_offset, 0}, distance;
    for (const OggAnchor& anchor : link.anchors) {
      const auto put_change = [&](int64_t now, int64_t* was, int64_t* step) {
        put_signed(&packed, now - *was - *step);
        *step = now - *was;
        *was = now;
      };
      put_change(anchor.start, &last.start, &distance.start);
      put_change(anchor.offset, &last.offset, &distance.offset);
      put_signed(&packed, anchor.skip - last.skip);
      last.skip = anchor.skip;
      packed.push_back(static_cast<char>(anchor.check & 255));
      packed.push_back(static_cast<char>(anchor.check >> 8));
    }
  }
  offset = 0;
  for (const OggGap& gap : index.gaps) {
    put_all({gap.offset - offset, gap.size});
    offset = gap.offset;
  }
  return packed + checksum(packed.data(), packed.size());
}

bool unpack(const char* packed, size_t size, OggIndex* index) {
  if (size < 7 || packed[0] != OggIndex::TAG || packed[1] != VERSION || (packed[2] & ~1)) return false;
  size -= 4;
  if (checksum(packed, size) != std::string(packed + size, 4)) return false;
  index->codec = packed[2] & 1 ? OggCodec::OPUS : OggCodec::VORBIS;
  Unpacker from(packed + 3, size - 3);
  const auto most = static_cast<int64_t>(size);
  int64_t links = 0, gaps = 0, change = 0, value = 0;
  if (!from.take(1 << 16, &index->decoder_major) || !from.take(MOST, &index->frames) ||
      !from.take(MOST, &index->stop_offset) || !from.take(most, &links) || !from.take(most, &gaps) || !links)
    return false;
  index->links.clear();
  index->gaps.clear();
  int64_t start = 0, offset = 0;
  for (int64_t i = 0; i < links; ++i) {
    OggLink link;
    int64_t anchors = 0, setup = 0, audio = 0;
    if (!from.take(index->frames - start, &link.start) || !from.take(MOST, &link.trim) ||
        !from.take(index->stop_offset - offset, &link.offset))
      return false;
    // Each link has frames, and pages behind those of the one before it; the first begins with frame 0.
    if (i ? !link.start || !link.offset : link.start != 0) return false;
    link.start = start += link.start;
    link.offset = offset += link.offset;
    if (start >= index->frames || !from.take(index->stop_offset - offset, &setup) ||
        !from.take(index->stop_offset - offset - setup, &audio) || !from.take(most, &anchors))
      return false;
    link.setup_offset = offset + setup;
    link.audio_offset = link.setup_offset + audio;
    OggAnchor last{link.start, 0, link.audio_offset, 0}, distance;
    const auto take_change = [&](int64_t* was, int64_t* step, int64_t limit) {
      // Sums of numbers up to 2^60 could pass 63 bits: each is checked before the next is added.
      if (!from.take_signed(MOST, &change)) return false;
      *step += change;
      if (*step <= 0 || *step > MOST) return false;
      *was += *step;
      return *was < limit;
    };
    for (int64_t k = 0; k < anchors; ++k) {
      if (!take_change(&last.start, &distance.start, index->frames) ||
          !take_change(&last.offset, &distance.offset, index->stop_offset) || !from.take_signed(MOST, &change))
        return false;
      last.skip += change;
      if (last.skip < 0 || last.skip > MOST || !from.take_byte(&value)) return false;
      last.check = static_cast<uint16_t>(value);
      if (!from.take_byte(&value)) return false;
      last.check = static_cast<uint16_t>(last.check | value << 8);
      link.anchors.push_back(last);
    }
    index->links.push_back(std::move(link));
  }
  // What a link has must lie before the next link.
  for (size_t i = 0; i + 1 < index->links.size(); ++i) {
    const OggLink &link = index->links[i], &next = index->links[i + 1];
    if (link.audio_offset >= next.offset) return false;
    if (!link.anchors.empty() &&
        (link.anchors.back().start >= next.start || link.anchors.back().offset >= next.offset))
      return false;
  }
  offset = 0;
  for (int64_t i = 0; i < gaps; ++i) {
    OggGap gap;
    if (!from.take(MOST, &gap.offset) || !from.take(MOST, &gap.size)) return false;
    gap.offset = offset += gap.offset;
    if (offset > MOST) return false;
    index->gaps.push_back(gap);
  }
  return from.done();
}

}  // namespace headrace
