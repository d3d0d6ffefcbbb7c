// OggFeed: the packets that a decoder has to be fed, to reach any frame of a recording of Vorbis or Opus in Ogg.
//
// A recording is decoded in runs. Each run begins with a new decoder, but that of Vorbis can be kept within a link:
// then a run reaches from any place of the link to its end. With Opus a run is a segment.
//
// Guarantees
// - The packets of a run are the same, however it was reached; with Vorbis, up to the first packet, whose frames are
//   thrown away.
// - It reads only bytes of the index's byte ranges for the frames that it has been asked for.
// - Where the pages are not those that the scan has found, it stops.
//
// Units: frames are PCM frames of the recording; offsets are bytes of the file.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sources/bytes.h"
#include "sources/ogg_codecs.h"
#include "sources/ogg_index.h"
#include "sources/ogg_packets.h"
#include "sources/ogg_pages.h"

namespace headrace {

// Part of a recording that one decoder gives.
struct OggRun {
  size_t link = 0;
  int64_t first = 0;        // the frame that the decoder's first one is; it may lie before the recording
  int64_t begin = 0, stop = 0;  // the frames that belong to the recording
};

struct OggFed {
  const uint8_t* data = nullptr;  // valid until the next packet is asked for
  int64_t size = 0;
  int64_t position = 0;  // the frame that its first one is
  int64_t frames = 0;    // that it holds; a decoder of Opus may give them later
  bool primes = false;   // whether what the decoder gives for it is thrown away
};

class OggFeed {
 public:
  // Throws DecodeError if the index is not that of the file.
  OggFeed(std::unique_ptr<Bytes> bytes, OggIndex index);

  const OggIndex& index() const { return index_; }

  // Go to a frame. Return whether a new run begins: then a new decoder is needed, except if both runs are of one link
  // of Vorbis. Else packets follow those before. Throws DecodeError.
  bool seek(int64_t frame);
  // Go to the next run. Return false if there is none. Throws DecodeError.
  bool next_run();
  const OggRun& run() const { return run_; }
  // What a decoder for this run is given beside the packets. Throws DecodeError.
  const std::string& extradata();

  // Give the next packet. With Vorbis, packets are passed over up to the frame that was sought. Return false at the
  // end of the link, or where the file is not what it was: then `complaint` says why. Throws DecodeError.
  bool next(OggFed* packet);
  // " (reason)", or "".
  const std::string& complaint() const { return complaint_; }

 private:
  void begin(size_t link, const OggAnchor* anchor);
  void read_headers(size_t link);
  void read_setup(const OggLink& link);
  bool take(OggFed* packet);
  bool next_page();
  bool stop(const std::string& why);
  const OggAnchor* anchor_at(size_t link, int64_t frame) const;

  const std::unique_ptr<Bytes> bytes_;
  const OggIndex index_;
  OggPages pages_;
  OggPackets packets_;
  OggRun run_;
  OggHead head_;
  OggTiming timing_{OggHead{}};
  std::string id_, extradata_;
  uint32_t serial_ = 0;
  size_t headers_of_ = SIZE_MAX;       // the link of which the headers have been read
  const OggAnchor* anchor_ = nullptr;  // from which the run was reached; null: from the link's first packet
  bool at_begin_ = false;   // whether the next page is the first one
  bool ended_ = true;       // whether no page follows
  int64_t position_ = 0;    // the frame that the next packet begins with
  // Of Vorbis: packets are passed over up to the one that has the frame `sought_`.
  int64_t sought_ = 0;
  bool follows_ = false;    // whether the packet before the next one has been given
  OggFed passed_;           // the last packet that was passed over
  std::vector<uint8_t> passed_bytes_;
  OggFed held_;             // the packet behind it
  bool holds_ = false;
  std::string complaint_;
};

}  // namespace headrace
