// Recordings that FFmpeg decodes, from their anchors (packet_index.h).
//
// What such a recording holds is defined by its index: each segment is what a decoder gives that is new at the
// segment's anchor. This is so in order too, unless the codec forgets: then one decoder gives the same bits
// throughout. So every way to reach a frame gives the same samples.
//
// Guarantees: no Python object is touched, so the GIL is not needed.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sources/container_packets.h"
#include "sources/ffmpeg_file.h"
#include "sources/source.h"

namespace headrace {

// Open a recording that has a PacketIndex in its `seek_points`. Throws DecodeError.
std::unique_ptr<Source> open_ffmpeg(const SourceSpec& spec);

// The last packets that were read.
class PacketHistory {
 public:
  PacketHistory(const FfmpegFunctions& library, int64_t most) : library_(library), most_(most) {}
  void add(const ffmpeg::Packet* packet, const PacketPlace& place);
  void clear() { entries_.clear(); }
  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  // Where the packet stands that was read `count` packets ago: 1 is the last one.
  PacketPlace place(int64_t count) const;
  // The sizes of the last `count` packets.
  SizeHash sizes(int64_t count) const;
  // Feed a decoder the last `count` packets and drop what it gives, errors too.
  void feed(FfmpegDecoder* decoder, int64_t count) const;

 private:
  struct Entry {
    PacketPointer packet;
    PacketPlace place;
  };
  const FfmpegFunctions& library_;
  const int64_t most_;
  std::deque<Entry> entries_;
};

// Decodes a whole file once, segment by segment, and notes its anchors.
//
// Guarantees: the number of frames is that of one uninterrupted decode. A packet becomes the first of a segment
// only if a new decoder gives as many frames for it as the one before. The index has a ContainerLayout only if every
// packet was found by it, too.
class FfmpegWalk {
 public:
  // Throws DecodeError if the file cannot be opened.
  FfmpegWalk(const Place& place, const FfmpegFormat& format);

  // Give the rule of the codec; and that of packets of more than 1,024 frames, which AAC's are that carry
  // spectral band replication.
  void set_rules(const AnchorRule& rule, const AnchorRule& rule_of_long_packets);

  // Decode `frames` frames, or a few more. Return how many: fewer at the end of the recording, or where it
  // cannot be decoded further. Throws DecodeError.
  int64_t advance(int64_t frames);

  const std::string& codec() const { return file_.codec(); }
  int sample_rate() const { return sample_rate_; }
  int channels() const { return channels_; }
  int64_t frames() const { return index_.frames; }
  const PacketIndex& index() const { return index_; }
  std::string complaint() const;

 private:
  void set_pre_roll();
  bool anchor_is_due() const;
  bool place_is_unique() const;
  int decode_at_anchor();
  void begin_following();
  void follow();
  uint16_t* sizes_of_segment();
  int decode(FfmpegDecoder* decoder, bool more);

  const FfmpegFormat format_;
  const FfmpegFunctions& library_;
  const Place file_place_;
  FfmpegFile file_;
  PacketPointer packet_;
  std::unique_ptr<ContainerPackets> follower_;
  std::optional<ContainerLayout> layout_;  // of the packets so far; none if `follower_` has not found each of them
  int64_t entry_ = 0;                      // of the last packet
  SizeHash sizes_;                         // of the packets of the segment and its pre-roll
  std::unique_ptr<FfmpegDecoder> decoder_;
  std::unique_ptr<PacketHistory> history_;
  AnchorRule rule_{}, rule_of_long_packets_{};
  PacketIndex index_;
  std::vector<float> pcm_;
  int64_t packet_frames_ = 0;  // that the last packet gave
  int64_t read_packets_ = 0;
  int sample_rate_ = 0, channels_ = 0;
  int64_t segment_start_ = 0, segment_packets_ = 0;
  bool ended_ = false;
  int error_ = 0;
};

}  // namespace headrace
