// OggPackets: the packets of one logical stream, taken from its pages.
//
// Guarantees: a packet of which a part is missing is not given.
#pragma once
#include <cstdint>
#include <vector>

#include "sources/ogg_pages.h"

namespace headrace {

struct OggPacket {
  const uint8_t* data = nullptr;  // valid until the next page is read
  int64_t size = 0;
  int64_t offset = 0;      // of the page on which it begins
  bool begins = false;     // whether it is the first packet that begins on the page that was added last
  bool too_long = false;   // whether only its first bytes are there
};

class OggPackets {
 public:
  // Of a longer packet only so many bytes are kept. Packets of audio are never that long.
  static constexpr int64_t MOST_BYTES = 1 << 20;

  // Add the next page of the stream, after `next` has returned false.
  void add(const OggPage& page);
  // Give the next packet that ends on this page; return false if there is none.
  bool next(OggPacket* packet);
  // Whether a packet has begun that does not end on the pages so far.
  bool unfinished() const { return holds_; }
  // How many packets were left out because a part of them is missing.
  int64_t broken() const { return broken_; }
  // Begin anew: the next page may have any number.
  void restart();

 private:
  OggPage page_;
  int segment_ = 0;        // the next one
  int64_t at_ = 0;         // in the body
  bool begun_ = false;     // whether a packet has begun on this page
  bool holds_ = false;     // whether `held_` is the first part of a packet
  bool skips_ = false;     // whether the rest of a packet is left out up to its end
  bool given_ = false;     // whether `held_` has been given
  bool started_ = false;   // whether there has been a page
  bool too_long_ = false;  // whether `held_` lacks bytes
  int64_t held_offset_ = 0;
  std::vector<uint8_t> held_;
  uint32_t next_number_ = 0;
  int64_t broken_ = 0;
};

}  // namespace headrace
