// OggIndex: where the packets of a recording of Vorbis or Opus in Ogg are, and what of their decode it consists of.
//
// A recording is one or more links: logical streams that follow each other. Each is decoded by a decoder of its
// own, from its first audio packet on. The recording is what the links give, without what is trimmed at their
// starts and ends.
//
// An anchor is a page that begins with a packet. If a decoder is fed from there on, `skip` frames after the place
// where that packet's frames begin, the recording is reached:
// - Vorbis forgets all but the packet before. The frames of the packets from the anchor's second one on are those
//   of a decode in one go.
// - Opus does not. There, each anchor begins a segment of the recording, which reaches up to the next anchor's
//   `start`. It is *defined* as what a new decoder gives that is fed from the anchor on, in order too.
//
// Guarantees: unpack() accepts only what pack() can give.
//
// Units: frames are PCM frames of the recording; offsets are bytes of the file.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "sources/ogg_codecs.h"
#include "sources/ogg_pages.h"

namespace headrace {

struct OggAnchor {
  int64_t start = 0;   // the first frame of the recording that is reached
  int64_t skip = 0;    // frames between it and the first one of the page's first packet
  int64_t offset = 0;  // of the page
  uint16_t check = 0;  // the lower half of the page's checksum
};

struct OggLink {
  int64_t start = 0;         // its first frame
  int64_t trim = 0;          // frames that its decode gives before that one
  int64_t offset = 0;        // of the page with the identification header
  int64_t setup_offset = 0;  // of the page on which the last header begins
  int64_t audio_offset = 0;  // of the page on which the first audio packet begins
  std::vector<OggAnchor> anchors;
};

struct OggIndex {
  static constexpr char TAG = 'O';  // the first byte of the packed form

  int64_t decoder_major = 0;  // libavcodec's major version
  OggCodec codec = OggCodec::VORBIS;
  int64_t frames = 0;       // of the recording
  int64_t stop_offset = 0;  // the end of its last page
  std::vector<OggLink> links;
  std::vector<OggGap> gaps;  // what the scan has found among its pages that is none

  // The frame behind the last one of a link.
  int64_t stop_of(size_t link) const { return link + 1 < links.size() ? links[link + 1].start : frames; }
  // The link that a frame is in.
  size_t link_at(int64_t frame) const;
  // The bytes that hold the frames [start, stop): whole blocks from anchor to anchor.
  std::pair<int64_t, int64_t> byte_range(int64_t start, int64_t stop) const;
  // The bytes of the headers of the link that a frame is in: of the first, and of the last.
  std::vector<std::pair<int64_t, int64_t>> header_ranges(int64_t frame) const;
  // Where the block ends in which the page at `offset` is: at the next anchor or link.
  int64_t block_stop(size_t link, int64_t offset) const;
};

std::string pack(const OggIndex& index);
bool unpack(const char* packed, size_t size, OggIndex* index);

}  // namespace headrace
