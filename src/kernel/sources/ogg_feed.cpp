#include "sources/ogg_feed.h"

#include <algorithm>

#include "sources/decode_error.h"

namespace headrace {
namespace {

[[noreturn]] void throw_changed() {
  throw DecodeError("CHANGED", "the file's packets are not where they were when it was scanned: scan again");
}

}  // namespace

OggFeed::OggFeed(std::unique_ptr<Bytes> bytes, OggIndex index)
    : bytes_(std::move(bytes)), index_(std::move(index)), pages_(*bytes_) {}

const OggAnchor* OggFeed::anchor_at(size_t link, int64_t frame) const {
  const auto& anchors = index_.links[link].anchors;
  const auto after = std::upper_bound(anchors.begin(), anchors.end(), frame,
                                      [](int64_t f, const OggAnchor& anchor) { return f < anchor.start; });
  return after == anchors.begin() ? nullptr : &*(after - 1);
}

bool OggFeed::seek(int64_t frame) {
  const size_t link = index_.link_at(frame);
  const OggAnchor* anchor = anchor_at(link, frame);
  const bool same_link = link == run_.link && headers_of_ == link;
  const bool kept = same_link && index_.codec == OggCodec::VORBIS;
  // Go forward packet by packet, except if an anchor is nearer.
  const bool forward = kept && frame >= position_ && !holds_ && !at_begin_ && complaint_.empty() &&
                       (!anchor || anchor->offset < pages_.offset());
  sought_ = frame;
  if (!forward) begin(link, anchor);
  return !kept;
}

bool OggFeed::next_run() {
  const OggLink& link = index_.links[run_.link];
  const size_t next = anchor_ ? static_cast<size_t>(anchor_ - link.anchors.data()) + 1 : 0;
  if (index_.codec == OggCodec::OPUS && next < link.anchors.size()) {
    begin(run_.link, &link.anchors[next]);
  } else {
    if (run_.link + 1 == index_.links.size()) return false;
    begin(run_.link + 1, nullptr);
  }
  sought_ = run_.begin;
  return true;
}

const std::string& OggFeed::extradata() { return extradata_; }

// Go to the anchor, or to the first packet of the link.
void OggFeed::begin(size_t number, const OggAnchor* anchor) {
  complaint_.clear();
  holds_ = follows_ = false;
  passed_ = {};
  ended_ = true;  // until it has succeeded
  const OggLink& link = index_.links[number];
  read_headers(number);
  anchor_ = anchor;
  run_ = {number, link.start - link.trim, link.start, index_.stop_of(number)};
  position_ = run_.first;
  if (anchor && index_.codec == OggCodec::VORBIS) position_ = anchor->start;  // its first packet gives nothing
  if (index_.codec == OggCodec::OPUS) {
    if (anchor) position_ = run_.first = anchor->start - anchor->skip;
    if (anchor) run_.begin = anchor->start;
    const auto next = std::upper_bound(link.anchors.begin(), link.anchors.end(), run_.begin,
                                       [](int64_t f, const OggAnchor& one) { return f < one.start; });
    if (next != link.anchors.end()) run_.stop = next->start;
  }
  pages_.seek(anchor ? anchor->offset : link.audio_offset);
  packets_.restart();
  timing_.restart();
  at_begin_ = true;
  ended_ = false;
}

// Read what stands before the packets of audio.
void OggFeed::read_headers(size_t number) {
  if (headers_of_ == number) return;
  headers_of_ = SIZE_MAX;
  const OggLink& link = index_.links[number];
  pages_.seek(link.offset);
  pages_.set_limit(index_.header_ranges(link.start)[0].second);
  packets_.restart();
  OggPage page;
  OggPacket packet;
  if (!pages_.next(&page) || page.offset != link.offset || !page.first()) throw_changed();
  packets_.add(page);
  if (!packets_.next(&packet)) throw_changed();
  head_ = read_head(packet.data, packet.size);
  if (head_.codec != index_.codec) throw_changed();
  id_.assign(reinterpret_cast<const char*>(packet.data), static_cast<size_t>(packet.size));
  serial_ = page.serial;
  timing_ = OggTiming(head_);
  if (head_.codec == OggCodec::VORBIS)
    read_setup(link);
  else
    extradata_ = headrace::extradata(head_, id_, "");
  headers_of_ = number;
}

void OggFeed::read_setup(const OggLink& link) {
  pages_.seek(link.setup_offset);
  pages_.set_limit(link.audio_offset);
  packets_.restart();
  OggPage page;
  OggPacket packet;
  while (pages_.next(&page) && page.offset <= link.audio_offset) {
    if (page.serial != serial_) continue;
    packets_.add(page);
    while (packets_.next(&packet)) {
      if (!timing_.read_setup(packet.data, packet.size)) continue;
      extradata_ = headrace::extradata(
          head_, id_,
          std::string(reinterpret_cast<const char*>(packet.data), static_cast<size_t>(packet.size)));
      return;
    }
  }
  throw_changed();
}

bool OggFeed::stop(const std::string& why) {
  complaint_ = " (Ogg: " + why + ")";
  ended_ = true;
  return false;
}

// Take the next page of the stream. Return false if there is none.
bool OggFeed::next_page() {
  OggPage page;
  const int64_t link_stop =
      run_.link + 1 < index_.links.size() ? index_.links[run_.link + 1].offset : index_.stop_offset;
  while (!ended_) {
    const int64_t at = pages_.offset();
    if (at >= link_stop) break;
    pages_.set_limit(index_.block_stop(run_.link, at));
    const bool found = pages_.next(&page);
    const OggGap& gap = pages_.gap();
    // What was damaged at the scan is still the same. Anything else could put the packets behind it elsewhere.
    if (gap.size && (at_begin_ || std::find(index_.gaps.begin(), index_.gaps.end(), gap) == index_.gaps.end()))
      return stop("there is no page with a right checksum at byte " + std::to_string(gap.offset));
    if (!found) return stop("the file ends at byte " + std::to_string(at));
    if (at_begin_ && anchor_ && static_cast<uint16_t>(page.checksum) != anchor_->check)
      return stop("another page is at byte " + std::to_string(at));
    at_begin_ = false;
    if (page.first()) break;
    if (page.serial != serial_) continue;
    ended_ = page.last();
    packets_.add(page);
    return true;
  }
  ended_ = true;
  return false;
}

// Take the next packet of audio.
bool OggFeed::take(OggFed* fed) {
  OggPacket packet;
  for (;;) {
    while (packets_.next(&packet)) {
      const int64_t frames = packet.too_long ? OggTiming::NO_AUDIO : timing_.frames(packet.data, packet.size);
      if (frames == OggTiming::NO_AUDIO) continue;
      *fed = {packet.data, packet.size, position_, frames, false};
      position_ += frames;
      return true;
    }
    if (!next_page()) return false;
  }
}

bool OggFeed::next(OggFed* packet) {
  if (index_.codec != OggCodec::VORBIS) return take(packet);
  if (holds_) {
    holds_ = false;
    *packet = held_;
    return true;
  }
  for (;;) {
    if (!take(packet)) return false;
    if (follows_) return true;
    if (packet->position + packet->frames > sought_ && passed_.data) break;
    passed_bytes_.assign(packet->data, packet->data + packet->size);
    passed_ = {passed_bytes_.data(), packet->size, packet->position, packet->frames, true};
  }
  held_ = *packet;
  holds_ = follows_ = true;
  *packet = passed_;
  return true;
}

}  // namespace headrace
