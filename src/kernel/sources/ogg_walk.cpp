#include "sources/ogg_walk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sources/decode_error.h"

namespace headrace {
namespace {

constexpr int VORBIS_HEADERS = 3, OPUS_HEADERS = 2;

// Frames that a granule position may be ahead by without a report: what a file that was copied from a container
// with coarser time stamps has. A page that is lost has more. A guess.
constexpr int64_t TOLERANCE = 4096;

// Pages that have to follow each other as they should before the middle of a file is skipped, and behind it.
constexpr int64_t LEAST_EVEN_PAGES = 1;

// By how much the pages that were skipped may be larger on average than the largest one that was seen: if they had to
// be larger, there would be more of them than their numbers say, as in files that were joined. A guess.
constexpr double MOST_GROWTH = 1.5;

}  // namespace

OggWalk::OggWalk(std::unique_ptr<Bytes> bytes, const OggRule& vorbis, const OggRule& opus)
    : bytes_(std::move(bytes)), rules_{vorbis, opus}, pages_(*bytes_) {}

// Go to the first page. Return false if the file does not begin like an Ogg file, behind a tag of ID3v2.
bool OggWalk::find_begin() {
  constexpr int64_t ID3_HEADER = 10, ID3_FOOTER = 0x10;
  uint8_t head[ID3_HEADER];
  int64_t at = 0;
  for (;;) {
    const int64_t got = bytes_->read(at, head, ID3_HEADER);
    if (got < 0) throw_system_error(errno);
    if (got < ID3_HEADER) return false;
    if (std::memcmp(head, "ID3", 3) != 0) break;
    int64_t size = ID3_HEADER * (head[5] & ID3_FOOTER ? 2 : 1), packed = 0;
    for (int i = 6; i < ID3_HEADER; ++i) packed = packed << 7 | (head[i] & 127);  // seven bits each
    at += size + packed;
  }
  pages_.seek(at);
  return !std::memcmp(head, "OggS", 4);
}

// Whether what follows the last page is no part of the recording: a tag, or padding, behind a whole stream.
bool OggWalk::is_no_audio(const OggGap& gap) const {
  char begin[4] = {};
  bytes_->read(gap.offset, begin, sizeof begin);
  return link_.ended && std::memcmp(begin, "OggS", std::min<size_t>(sizeof begin, gap.size)) != 0;
}

bool OggWalk::advance(int64_t bytes) {
  if (!begun_) ended_ = !find_begin();
  begun_ = true;
  const int64_t stop = pages_.offset() + bytes;
  OggPage page;
  while (!ended_ && pages_.offset() < stop) {
    ended_ = !pages_.next(&page);
    const bool lands = skip_.lands && !ended_;  // in the middle of a page
    if (const OggGap& gap = pages_.gap(); gap.size && !lands && !(ended_ && is_no_audio(gap))) {
      add_damage(gap.size, 0);
      if (!left_out_ && joined_any_) index_.gaps.push_back(gap);
      if (ended_ && !left_out_) defects_.tail_bytes = gap.size;
    }
    if (!ended_) {
      add(page);
      ended_ = !joined_any_ && !in_heads_ && !link_.audio;  // there is no audio that could be joined
      continue;
    }
    if (!left_out_) defects_.cut_short = defects_.tail_bytes || !link_.ended;
    finish_link();
  }
  return !ended_;
}

bool OggWalk::can_skip() const {
  return joined_any_ && !ended_ && !skip_.done && !skip_.uneven && skip_.even_pages >= LEAST_EVEN_PAGES &&
         link_.audio && !link_.ended && index_.links.empty() && defects_.damaged_at < 0;
}

void OggWalk::skip_to(int64_t offset) {
  if (offset <= pages_.offset()) return;
  pages_.seek(offset);
  packets_.restart();
  link_.timing.restart();
  link_.raw -= link_.since;  // of the last page with a granule position
  link_.since = 0;
  skip_.even_pages = 0;
  skip_.done = skip_.lands = skip_.syncs = true;
}

bool OggWalk::is_continuous() const {
  const int64_t pages = std::max<int64_t>(1, skip_.next_number);
  const double mean = static_cast<double>(bytes_->size()) / static_cast<double>(pages);
  return ended_ && !skip_.uneven && skip_.even_pages >= LEAST_EVEN_PAGES && link_.ended && !left_out_ &&
         index_.links.size() == 1 && index_.frames > 0 && defects_.damaged_at < 0 && !defects_.cut_short &&
         defects_.missing_frames == 0 && mean <= MOST_GROWTH * static_cast<double>(skip_.largest_page);
}

// Note whether a page is the one that follows those before it in one stream.
void OggWalk::check_order(const OggPage& page) {
  skip_.largest_page = std::max(skip_.largest_page, page.size);
  const bool begins = page.offset == link_.found.offset;
  if (page.first() ? !begins : page.serial != link_.serial) skip_.uneven = true;
  const bool follows = skip_.lands ? page.number >= skip_.next_number : page.number == skip_.next_number;
  if (!begins && !follows) skip_.uneven = true;
  skip_.next_number = page.number + 1;
  skip_.lands = false;
}

void OggWalk::add(const OggPage& page) {
  add_page(page);
  if (link_.audio) check_order(page);
}

void OggWalk::add_page(const OggPage& page) {
  if (page.first()) {
    if (!in_heads_) {
      if (joined_any_ && !left_out_ && link_.audio && !link_.ended) {
        if (!defects_.unended_links++) defects_.unended_at = frame_now();
      }
      finish_link();
      link_ = Link(OggHead{});
    }
    in_heads_ = true;
    if (!link_.audio) begin_link(page);
    return;
  }
  in_heads_ = false;
  if (!link_.audio || page.serial != link_.serial) return;
  if (link_.ended) {
    if (page.segments) add_damage(0, 1);  // it stands behind the last page
    return;
  }
  if (link_.head.codec != OggCodec::OTHER_AUDIO) add_audio(page);
}

// Take the stream that begins on a page as that of the link, if it is audio.
void OggWalk::begin_link(const OggPage& page) {
  packets_.restart();
  packets_.add(page);
  OggPacket packet;
  if (!packets_.next(&packet)) return;
  const OggHead head = read_head(packet.data, packet.size);
  if (head.codec == OggCodec::NONE) return;
  link_ = Link(head);
  link_.audio = true;
  link_.serial = page.serial;
  link_.headers = 1;
  link_.id.assign(reinterpret_cast<const char*>(packet.data), static_cast<size_t>(packet.size));
  link_.found.offset = page.offset;
  link_.stop_offset = page.offset + page.size;
  if (head.codec == OggCodec::OTHER_AUDIO) {
    link_.foreign = true;
  } else if (!joined_any_ && !left_out_) {
    index_.codec = head.codec;
    sample_rate_ = head.sample_rate;
    channels_ = head.channels;
  } else {
    link_.foreign = head.codec != index_.codec || head.sample_rate != sample_rate_ || head.channels != channels_;
  }
  if (link_.foreign && !left_out_ && joined_any_) {
    defects_.foreign_codec = name_of(head.codec);
    defects_.foreign_sample_rate = head.sample_rate;
    defects_.foreign_channels = head.channels;
  }
  left_out_ = left_out_ || link_.foreign;
  link_.foreign = left_out_;
  if (left_out_ && !joined_any_) link_.audio = false;  // the first audio stream is of another codec
}

// Read a header that follows the first. Return false if the link cannot be used.
bool OggWalk::add_header(const OggPacket& packet) {
  ++link_.headers;
  link_.found.setup_offset = packet.offset;
  if (link_.head.codec == OggCodec::OPUS || link_.headers < VORBIS_HEADERS) return true;
  if (packet.too_long || !link_.timing.read_setup(packet.data, packet.size)) return false;
  if (!joined_any_ && !link_.foreign)
    first_extradata_ = extradata(link_.head, link_.id,
                                 std::string(reinterpret_cast<const char*>(packet.data),
                                             static_cast<size_t>(packet.size)));
  return true;
}

void OggWalk::add_audio(const OggPage& page) {
  const int headers = link_.head.codec == OggCodec::OPUS ? OPUS_HEADERS : VORBIS_HEADERS;
  const int64_t broken = packets_.broken();
  packets_.add(page);
  OggPacket packet;
  int64_t page_frames = 0;
  bool any = false;
  while (packets_.next(&packet)) {
    if (link_.headers < headers) {
      if (!add_header(packet)) {
        link_.ended = true;
        return;
      }
      continue;
    }
    if (!link_.found.audio_offset) link_.found.audio_offset = packet.offset;
    if (!link_.foreign && !joined_any_) {
      joined_any_ = true;
      if (link_.head.codec == OggCodec::OPUS) first_extradata_ = extradata(link_.head, link_.id, "");
    }
    const int64_t frames = packet.too_long ? OggTiming::NO_AUDIO
                                           : link_.timing.frames(packet.data, packet.size);
    if (frames == OggTiming::NO_AUDIO) {
      // Some encoders write packets of no bytes. They are silently nothing to every decoder.
      if (packet.size) add_damage(0, 1);
      continue;
    }
    any = true;
    if (skip_.syncs) continue;
    if (!skip_.done) add_anchor(packet, page, frames);
    link_.raw += frames;
    page_frames += frames;
  }
  if (const int64_t more = packets_.broken() - broken) add_damage(0, more);
  if (link_.headers < headers) return;
  link_.stop_offset = page.offset + page.size;
  link_.since += page_frames;
  if (any && skip_.syncs)
    sync(page);
  else if (any)
    add_granule(page);
  link_.ended = page.last();
}

// Note an anchor where one is due: at a packet, of that many frames, that begins on a page.
void OggWalk::add_anchor(const OggPacket& packet, const OggPage& page, int64_t frames) {
  const bool opus = link_.head.codec == OggCodec::OPUS;
  const OggRule& rule = rules_[opus];
  if (link_.pending_packets >= 0) {
    const int64_t rolled = link_.raw - link_.pending.start;
    if (link_.pending_packets >= rule.pre_roll &&
        static_cast<double>(rolled) >= rule.pre_roll_s * link_.head.sample_rate) {
      link_.pending.skip = rolled;
      link_.pending.start = link_.raw;
      link_.found.anchors.push_back(link_.pending);
      link_.pending_packets = -1;
    } else {
      ++link_.pending_packets;
    }
  }
  if (link_.pending_packets >= 0 || !packet.begins || page.continued() || !link_.raw) return;
  if (static_cast<double>(link_.raw - link_.last_anchor) < rule.spacing_s * link_.head.sample_rate) return;
  link_.pending = {link_.raw, 0, page.offset, static_cast<uint16_t>(page.checksum)};
  link_.last_anchor = link_.raw;
  if (opus) {
    link_.pending_packets = 1;
    return;
  }
  // Its first packet gives nothing, and the next one all of its own.
  link_.pending.start += frames;
  link_.pending.skip = frames;
  link_.found.anchors.push_back(link_.pending);
}

// Take the frames of a page, behind those that were skipped, as those up to its granule position.
void OggWalk::sync(const OggPage& page) {
  if (page.granule < 0) return;
  if (page.granule < link_.granule) skip_.uneven = true;
  link_.raw += page.granule - link_.granule;
  link_.granule = page.granule;
  skip_.syncs = false;
}

void OggWalk::add_granule(const OggPage& page) {
  if (page.granule < 0) return;
  if (link_.granule == OggPage::NO_GRANULE) {
    if (page.last()) {  // the only page: it begins at 0
      link_.trimmed_end = std::clamp<int64_t>(link_.raw - page.granule, 0, link_.since);
    } else if (link_.head.codec == OggCodec::VORBIS && page.granule > 0 && page.granule < link_.raw) {
      link_.found.trim = link_.raw - page.granule;
    }
  } else {
    const int64_t expected = link_.granule + link_.since;
    if (page.granule - expected > TOLERANCE && !link_.foreign) {
      if (!defects_.missing_frames) defects_.missing_at = frame_now() - link_.since;
      defects_.missing_frames += page.granule - expected;
    }
    if (page.last()) link_.trimmed_end = std::clamp<int64_t>(expected - page.granule, 0, link_.since);
    if (page.granule + link_.trimmed_end == expected)
      ++skip_.even_pages;
    else
      skip_.uneven = true;
  }
  link_.granule = page.granule;
  link_.since = 0;
}

// The frame of the recording that the next packet begins with.
int64_t OggWalk::frame_now() const {
  if (!link_.audio || link_.foreign) return index_.frames;
  const int64_t trim = link_.found.trim + link_.head.pre_skip;
  return index_.frames + std::max<int64_t>(0, link_.raw - trim);
}

void OggWalk::add_damage(int64_t bytes, int64_t packets) {
  if (left_out_) return;
  if (defects_.damaged_at < 0) defects_.damaged_at = frame_now();
  defects_.damaged_bytes += bytes;
  defects_.damaged_packets += packets;
}

void OggWalk::finish_link() {
  if (!link_.audio) return;
  if (!link_.found.audio_offset) add_damage(0, 1);  // it has no packets, or its headers cannot be used
  OggLink& found = link_.found;
  found.trim += link_.head.pre_skip;
  const int64_t frames = link_.raw - found.trim - link_.trimmed_end;
  link_.audio = false;
  if (frames <= 0) return;
  if (link_.foreign) {
    defects_.foreign_s += static_cast<double>(frames) / link_.head.sample_rate;
    return;
  }
  found.start = index_.frames;
  std::vector<OggAnchor> anchors;
  for (OggAnchor anchor : found.anchors) {
    anchor.start += found.start - found.trim;
    if (anchor.start > found.start && anchor.start < found.start + frames) anchors.push_back(anchor);
  }
  found.anchors = std::move(anchors);
  index_.frames += frames;
  index_.stop_offset = link_.stop_offset;
  index_.links.push_back(std::move(found));
}

}  // namespace headrace
