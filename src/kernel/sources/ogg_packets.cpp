#include "sources/ogg_packets.h"

#include <algorithm>

namespace headrace {

void OggPackets::restart() {
  holds_ = skips_ = started_ = given_ = false;
  held_.clear();
  page_.segments = segment_ = 0;
}

void OggPackets::add(const OggPage& page) {
  if (given_) {
    held_.clear();
    given_ = false;
  }
  // A page is missing before this one, or the one before has promised what this one does not continue.
  if (holds_ && (page.number != next_number_ || !page.continued())) {
    holds_ = false;
    held_.clear();
    ++broken_;
  }
  const bool without_begin = page.continued() && !holds_;
  if (without_begin && started_ && !skips_) ++broken_;
  skips_ = without_begin;
  started_ = true;
  next_number_ = page.number + 1;
  page_ = page;
  segment_ = 0;
  at_ = 0;
  begun_ = false;
}

bool OggPackets::next(OggPacket* packet) {
  if (given_) {
    held_.clear();
    given_ = false;
  }
  while (segment_ < page_.segments) {
    int64_t size = 0;
    bool complete = false;
    while (segment_ < page_.segments && !complete) {
      size += page_.lacing[segment_];
      complete = page_.lacing[segment_++] < 255;
    }
    const uint8_t* data = page_.body + at_;
    at_ += size;
    const bool continues = holds_ || skips_;
    const bool begins = !continues && !begun_;
    if (!continues) begun_ = true;
    if (skips_) {
      skips_ = !complete;
      continue;
    }
    if (holds_ || !complete) {
      if (!holds_) {
        held_offset_ = page_.offset;
        too_long_ = false;
      }
      const int64_t some = std::min(size, MOST_BYTES - static_cast<int64_t>(held_.size()));
      held_.insert(held_.end(), data, data + some);
      too_long_ = too_long_ || some < size;
      holds_ = !complete;
      if (!complete) continue;
      *packet = {held_.data(), static_cast<int64_t>(held_.size()), held_offset_, begins, too_long_};
      given_ = true;
    } else {
      *packet = {data, size, page_.offset, begins, false};
    }
    return true;
  }
  return false;
}

}  // namespace headrace
