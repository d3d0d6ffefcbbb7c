// OggWalk: the pages of a whole file of Vorbis or Opus in Ogg, to find out how long it is and where its anchors are.
//
// Guarantees
// - Nothing is decoded. The length is that of what a decoder gives for the packets that there are, without what
//   the granule positions say is to be trimmed.
// - It follows the first audio stream, as FFmpeg and libsndfile do. Streams that follow it with the same codec, sample
//   rate and channels belong to the recording; from the first other one on, the rest is left out.
// - A walk that has skipped the middle of a file gives the length that the whole walk gives, if the pages that it has
//   not seen are those that the numbers and the granule positions of the others promise. It has no index.
//
// Units: offsets are bytes of the file; frames are PCM frames.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "sources/bytes.h"
#include "sources/ogg_codecs.h"
#include "sources/ogg_index.h"
#include "sources/ogg_packets.h"
#include "sources/ogg_pages.h"

namespace headrace {

// Where anchors are placed in recordings of one codec.
struct OggRule {
  double spacing_s = 1;     // between anchors, at least
  int64_t pre_roll = 1;     // packets of a pre-roll, at least
  double pre_roll_s = 0;    // and seconds
};

// What is wrong with a file that can be used all the same.
struct OggDefects {
  int64_t damaged_bytes = 0;    // that are not part of a page
  int64_t damaged_packets = 0;  // that are no audio, or of which a part is missing
  int64_t damaged_at = -1;      // the frame of the recording at which the first of them is; -1: there is none
  int64_t missing_frames = 0;   // that the granule positions skip
  int64_t missing_at = -1;      // the frame of the recording at which the first of them is; -1: there is none
  int64_t tail_bytes = 0;       // of the damaged ones, those behind the last page
  int64_t unended_links = 0;    // streams of the recording, but the last, that lack their last page
  int64_t unended_at = -1;      // the frame at which the first of them stops; -1: there is none
  bool cut_short = false;       // whether the last stream lacks its last page, or the file ends within a page
  int foreign_sample_rate = 0, foreign_channels = 0;  // of the first stream that cannot be joined
  std::string foreign_codec;    // "": there is none
  double foreign_s = 0;         // seconds that are left out, as far as they can be counted
};

class OggWalk {
 public:
  OggWalk(std::unique_ptr<Bytes> bytes, const OggRule& vorbis, const OggRule& opus);

  // Go on for `bytes` bytes, or a few more. Return false at the end of the file. Throws DecodeError if it cannot be
  // read.
  bool advance(int64_t bytes);

  // Whether all pages so far are those of one stream, as they should be, and some are of audio: then the positions at
  // the end of the file may tell its length.
  bool can_skip() const;
  // Go on at `offset`, or at the first page behind it. Only if `can_skip`.
  void skip_to(int64_t offset);
  // At the end of a file of which the middle was skipped: whether its last pages go on from the first ones, as
  // far as they can tell. Else the walk says nothing of the recording.
  bool is_continuous() const;

  // Whether the first audio stream is one of Vorbis or Opus, with its headers: else nothing else counts.
  bool usable() const { return joined_any_; }
  OggCodec codec() const { return index_.codec; }
  int sample_rate() const { return sample_rate_; }
  int channels() const { return channels_; }
  int64_t frames() const { return index_.frames; }
  const OggIndex& index() const { return index_; }
  const OggDefects& defects() const { return defects_; }
  // What a decoder of the first link is given beside the packets.
  const std::string& first_extradata() const { return first_extradata_; }

 private:
  // The logical stream that is followed.
  struct Link {
    explicit Link(const OggHead& its_head) : head(its_head), timing(its_head) {}
    OggHead head;
    OggTiming timing;
    OggLink found;
    std::string id;             // its first packet
    uint32_t serial = 0;
    bool audio = false;         // whether there is an audio stream
    bool foreign = false;       // whether it cannot be joined
    int headers = 0;            // that have been read
    int64_t raw = 0;            // frames that the decode gives up to here
    int64_t trimmed_end = 0;
    int64_t granule = OggPage::NO_GRANULE;  // of the last page that has one
    int64_t since = 0;          // frames since that page
    bool ended = false;
    int64_t stop_offset = 0;    // the end of the last page
    int64_t last_anchor = 0;    // raw frames at which the page of the last anchor begins
    OggAnchor pending;          // an anchor whose pre-roll is not over; its start in raw frames
    int64_t pending_packets = -1;
  };
  // What a walk that skips the middle of the file has to know.
  struct Skip {
    bool uneven = false;        // whether a page is not the one that is expected behind the one before
    int64_t even_pages = 0;     // pages whose granule positions are those of their packets: since the skip, if any
    uint32_t next_number = 0;   // of the next page
    int64_t largest_page = 0;   // bytes
    bool done = false;          // whether the middle has been skipped
    bool lands = false;         // whether no page behind it has been seen
    bool syncs = false;         // whether no granule position behind it has been seen
  };

  bool find_begin();
  bool is_no_audio(const OggGap& gap) const;
  void add(const OggPage& page);
  void add_page(const OggPage& page);
  void begin_link(const OggPage& page);
  void add_audio(const OggPage& page);
  bool add_header(const OggPacket& packet);
  void add_anchor(const OggPacket& packet, const OggPage& page, int64_t frames);
  void sync(const OggPage& page);
  void add_granule(const OggPage& page);
  void finish_link();
  void check_order(const OggPage& page);
  void add_damage(int64_t bytes, int64_t packets);
  int64_t frame_now() const;

  const std::unique_ptr<Bytes> bytes_;
  const OggRule rules_[2];
  OggPages pages_;
  OggPackets packets_;
  Link link_{OggHead{}};
  bool in_heads_ = false;   // whether the pages so far of this link all begin a stream
  bool joined_any_ = false; // whether there has been a stream of the recording
  bool left_out_ = false;   // whether a stream could not be joined: then all behind it is left out
  int sample_rate_ = 0, channels_ = 0;
  std::string first_extradata_;
  OggIndex index_;
  OggDefects defects_;
  Skip skip_;
  bool begun_ = false, ended_ = false;
};

}  // namespace headrace
