#include "sources/ffmpeg_source.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "sources/decode_error.h"
#include "sources/open_container.h"
#include "sources/table_packets.h"

namespace headrace {
namespace {

// Go forward by up to this part of a second by decoding. A guess.
constexpr int64_t NEAR = 4;

// Packets of a pre-roll at most: as many as codecs/_anchors.py allows.
constexpr int64_t MOST_PRE_ROLL = 200;

[[noreturn]] void throw_damaged_index() {
  throw DecodeError("CHANGED", "the catalog's index of the file is damaged: scan again");
}

// AAC, whose packets may turn out to be long ones; the second name is that of a stream that carries its own headers.
bool is_aac(const std::string& codec) { return codec == "aac" || codec == "aac_latm"; }

// The packets of a recording, from any segment on.
class SegmentPackets {
 public:
  virtual ~SegmentPackets() = default;
  // Make the first packet of a segment's pre-roll the next one. Throws DecodeError.
  virtual void seek(size_t segment) = 0;
  // Give the next packet. Return false where there is none: `error` is FFmpeg's code, or 0 if they have ended.
  virtual bool next(ffmpeg::Packet* packet) = 0;
  virtual int error() const = 0;
  // Where the packet stands that `next` gave.
  virtual PacketPlace place() const = 0;
  // Whether the packet that `next` gave is the first of the pre-roll of the anchor's segment.
  virtual bool is_at(const Anchor& anchor, const ffmpeg::Packet* packet) const = 0;
  // Whether the next segment may follow: asked when its pre-roll has been given.
  virtual bool goes_on() { return true; }
  // A decoder for the packets that `next` gives.
  virtual std::unique_ptr<FfmpegDecoder> new_decoder() = 0;
};

// By FFmpeg's demuxer.
class DemuxedPackets : public SegmentPackets {
 public:
  DemuxedPackets(const Place& place, const FfmpegFormat& format, const PacketIndex& index)
      : library_(*format.library), index_(index), file_(place, format) {}

  void seek(size_t segment) override {
    skips_ = false;
    if (segment)
      file_.seek(index_.anchors[segment - 1].place, index_.packets_of(segment).first);
    else
      file_.rewind();
  }
  bool next(ffmpeg::Packet* packet) override {
    if (!file_.next(packet)) return false;
    // Where packets are damaged, demuxers go on with a later one.
    skips_ = index_.continuous && !file_.follows();
    return !skips_;
  }
  int error() const override { return skips_ ? ffmpeg::INVALID_DATA : file_.error(); }
  PacketPlace place() const override { return file_.place(); }
  bool is_at(const Anchor& anchor, const ffmpeg::Packet* packet) const override {
    return file_.is_at(anchor.place, packet);
  }
  std::unique_ptr<FfmpegDecoder> new_decoder() override {
    return std::make_unique<FfmpegDecoder>(file_, library_);
  }

 private:
  const FfmpegFunctions& library_;
  const PacketIndex& index_;
  FfmpegFile file_;
  bool skips_ = false;
};

// By the table of their sizes.
class ListedPackets : public SegmentPackets {
 public:
  ListedPackets(const Place& place, const FfmpegFormat& format, const PacketIndex& index)
      : format_(format), index_(index), packets_(open_bytes(place), index) {}

  void seek(size_t segment) override { packets_.seek(segment); }
  bool next(ffmpeg::Packet* packet) override { return packets_.next(packet); }
  int error() const override { return packets_.error() || packets_.ended() ? packets_.error() : ffmpeg::END_OF_FILE; }
  PacketPlace place() const override { return {}; }
  bool is_at(const Anchor&, const ffmpeg::Packet*) const override { return true; }
  std::unique_ptr<FfmpegDecoder> new_decoder() override {
    return std::make_unique<FfmpegDecoder>(format_.codec.c_str(), index_.table->extradata, *format_.library);
  }

 private:
  const FfmpegFormat& format_;
  const PacketIndex& index_;
  TablePackets packets_;
};

// By a reader of our own for the container. It passes over a segment before it gives its packets: where they have other
// sizes than at the scan, or the first one has other bytes, FFmpeg's demuxer gives what it can of them.
class ContainedPackets : public SegmentPackets {
 public:
  ContainedPackets(const Place& place, const FfmpegFormat& format, const PacketIndex& index)
      : place_(place), format_(format), index_(index), layout_(*index.layout) {
    const std::shared_ptr<const Bytes> bytes = open_bytes(place);
    packets_ = open_container(format.demuxer, bytes, layout_.numbers);
    if (!packets_) throw_damaged_index();
    ahead_ = open_container(format.demuxer, bytes, layout_.numbers);
  }

  void seek(size_t segment) override {
    error_ = 0;
    segment_ = segment;
    next_ = index_.packets_of(segment).first;
    is_intact_ = finds(segment);
    if (is_intact_) {
      packets_->seek(place_of(segment));
    } else {
      if (!demuxed_) demuxed_ = std::make_unique<DemuxedPackets>(place_, format_, index_);
      demuxed_->seek(segment);
    }
    is_placed_ = true;
  }
  bool next(ffmpeg::Packet* packet) override {
    if (!is_placed_) seek(0);
    if (!is_intact_) return demuxed_->next(packet);
    error_ = 0;
    format_.library->av_packet_unref(packet);
    if (next_ == layout_.packets) return false;
    if (!packets_->next(&found_)) {
      error_ = packets_->failed() ? -EIO : ffmpeg::INVALID_DATA;
      return false;
    }
    packet->data = const_cast<uint8_t*>(found_.data);  // FFmpeg copies it
    packet->size = static_cast<int>(found_.size);
    for (const DroppedFrames& dropped : layout_.dropped)
      if (dropped.packet == next_) drop_frames(*format_.library, dropped, packet);
    ++next_;
    return true;
  }
  int error() const override { return is_intact_ ? error_ : demuxed_->error(); }
  PacketPlace place() const override { return is_intact_ ? found_.place : demuxed_->place(); }
  bool is_at(const Anchor& anchor, const ffmpeg::Packet* packet) const override {
    if (!is_intact_) return demuxed_->is_at(anchor, packet);
    return found_.place.offset == anchor.place.offset && packet_check(found_.data, found_.size) == anchor.place.check;
  }
  bool goes_on() override { return !is_intact_ || finds(++segment_); }
  std::unique_ptr<FfmpegDecoder> new_decoder() override {
    if (!is_placed_) seek(0);
    if (!is_intact_) return demuxed_->new_decoder();  // the file may be another one
    return std::make_unique<FfmpegDecoder>(layout_.decoder, *format_.library);
  }

 private:
  const PacketPlace& place_of(size_t segment) const {
    return segment ? index_.anchors[segment - 1].place : layout_.first;
  }

  // Whether the packets of a segment and its pre-roll are those of the scan.
  bool finds(size_t segment) {
    const PacketPlace& place = place_of(segment);
    const auto [first, stop] = index_.packets_of(segment);
    ahead_->seek(place);
    SizeHash sizes;
    ContainerPacket found;
    for (int64_t i = first; i < stop; ++i) {
      if (!ahead_->next(&found)) {
        if (ahead_->failed()) throw DecodeError("IO", "the file cannot be read");
        return false;
      }
      if (i == first && (found.place.offset != place.offset || found.place.ordinal != place.ordinal ||
                         (segment && packet_check(found.data, found.size) != place.check)))
        return false;
      sizes.add(found.size);
    }
    return sizes.value() == (segment ? index_.anchors[segment - 1].sizes : layout_.sizes);
  }

  const Place place_;
  const FfmpegFormat& format_;
  const PacketIndex& index_;
  const ContainerLayout& layout_;
  std::unique_ptr<ContainerPackets> packets_, ahead_;
  std::unique_ptr<DemuxedPackets> demuxed_;
  ContainerPacket found_;
  size_t segment_ = 0;
  bool is_placed_ = false, is_intact_ = true;
  int64_t next_ = 0;  // the number of the next packet
  int error_ = 0;
};

class FfmpegSource : public Source {
 public:
  FfmpegSource(const SourceSpec& spec, PacketIndex index)
      : format_(spec.format.ffmpeg),
        index_(std::move(index)),
        sample_rate_(spec.format.sample_rate),
        channels_(spec.format.channels),
        packet_(*format_.library),
        history_(*format_.library, index_.pre_roll),
        skip_(skipped_of(0)) {
    if (index_.table)
      packets_ = std::make_unique<ListedPackets>(spec.place, format_, index_);
    else if (index_.layout)
      packets_ = std::make_unique<ContainedPackets>(spec.place, format_, index_);
    else
      packets_ = std::make_unique<DemuxedPackets>(spec.place, format_, index_);
  }

  int64_t read(void* to, int64_t frames) override {
    auto* out = static_cast<float*>(to);
    int64_t done = 0;
    // Where the next segment begins, it is read as by a seek, whatever the one before it has given.
    if (!failed_ && has_next() && position_ == next_anchor().start && !is_at_end()) go_to(segment_ + 1);
    while (done < frames) {
      const int64_t some = std::min(frames - done, ready());
      if (some == 0) {
        if (has_surplus() || !decode_packet()) break;
        continue;
      }
      std::memcpy(out + done * channels_, pcm_.data() + taken_ * channels_,
                  static_cast<size_t>(some * channels_) * sizeof(float));
      take(some);
      done += some;
    }
    return done;
  }

  void seek(int64_t frame) override {
    const size_t segment = index_.segment_of(frame);
    const bool near = frame >= position_ && (segment == segment_ || frame - position_ < sample_rate_ / NEAR);
    if (!failed_ && near && goes_on_to(frame) && (segment == segment_ || is_at_end())) return;
    go_to(segment);
    if (!decodes_up_to(frame))
      throw DecodeError(system_failed() ? "IO" : "TRUNCATED",
                        (system_failed() ? "the file cannot be read" : "the file is cut short or damaged") +
                            complaint());
  }

  int64_t resume(int64_t frame) override {
    for (size_t segment = 1; segment <= index_.anchors.size(); ++segment) {
      if (index_.anchors[segment - 1].start <= frame) continue;
      try {
        go_to(segment);
        if (decode_packet()) return position_;
      } catch (const DecodeError&) {  // then the next one may do
      }
    }
    return -1;
  }

  std::string complaint() override { return ffmpeg_complaint(*format_.library, error_); }
  bool system_failed() override { return is_system_error(error_); }

 private:
  // Frames that the decode of a segment gives before the first one of the recording.
  int64_t skipped_of(size_t segment) const { return segment == 0 && index_.table ? index_.table->skip : 0; }

  // Frames that are decoded and not yet taken.
  int64_t decoded() const { return static_cast<int64_t>(pcm_.size()) / channels_ - taken_; }
  // How many of them belong to the segment. Damaged packets may give more than they did at the scan.
  int64_t ready() const {
    return has_next() ? std::min(decoded(), next_anchor().start - position_) : decoded();
  }
  bool has_surplus() const { return decoded() > ready(); }
  // Whether the segment has been decoded and taken, and ends where it did at the scan.
  bool is_at_end() const {
    return has_next() && position_ == next_anchor().start && segment_packets_ == next_anchor().packets && !decoded();
  }

  void take(int64_t frames) {
    taken_ += frames;
    position_ += frames;
    if (decoded() > 0) return;
    pcm_.clear();
    taken_ = 0;
  }

  void replace_decoder() {
    decoder_.reset();
    decoder_ = packets_->new_decoder();
    decoder_->sample_rate = sample_rate_;
    decoder_->channels = channels_;
    decoder_->scanned = true;
  }

  // Go on to a frame of this segment or of the next one. Return false where damage is in the way: the next one may
  // still be reached by its anchor, as it is from anywhere else.
  bool goes_on_to(int64_t frame) {
    try {
      return decodes_up_to(frame);
    } catch (const DecodeError&) {
      return false;
    }
  }

  // Decode and drop everything before `frame`. Return false if decoding ends before.
  bool decodes_up_to(int64_t frame) {
    while (position_ < frame) {
      const int64_t some = std::min(frame - position_, ready());
      if (some == 0 && (has_surplus() || !decode_packet())) return false;
      take(some);
    }
    return true;
  }

  // Go to the start of a segment.
  void go_to(size_t segment) {
    pcm_.clear();
    taken_ = 0;
    failed_ = true;  // until it has succeeded
    error_ = 0;
    history_.clear();
    segment_ = segment;
    segment_packets_ = 0;
    leads_on_ = false;
    skip_ = skipped_of(segment);
    position_ = 0;
    packets_->seek(segment);
    replace_decoder();
    if (segment) {
      for (int64_t i = 0; i < index_.pre_roll; ++i) {
        if (!packets_->next(packet_.get())) {
          error_ = packets_->error();
          throw DecodeError(system_failed() ? "IO" : "TRUNCATED",
                            (system_failed() ? "the file cannot be read" : "the file is cut short or damaged") +
                                complaint());
        }
        history_.add(packet_.get(), packets_->place());
      }
      history_.feed(decoder_.get(), index_.pre_roll);
      position_ = index_.anchors[segment - 1].start;
    }
    failed_ = false;
  }

  bool has_next() const { return segment_ < index_.anchors.size(); }
  const Anchor& next_anchor() const { return index_.anchors[segment_]; }

  // Go on with the next segment: exactly where every other way to it begins. Return false where this segment
  // does not end where it did at the scan.
  bool begin_next() {
    if (position_ != next_anchor().start) {
      failed_ = true;
      return false;
    }
    if (!leads_on_ || !packets_->goes_on()) {
      go_to(segment_ + 1);
      return true;
    }
    ++segment_;
    segment_packets_ = 0;
    if (!index_.forgets) {
      replace_decoder();
      history_.feed(decoder_.get(), index_.pre_roll);
    }
    return true;
  }

  // Decode the next packet; return false where decoding ends. What was decoded before has been taken.
  bool decode_packet() {
    if (failed_) return false;
    if (!decoder_) replace_decoder();
    if (has_next() && segment_packets_ == next_anchor().packets && !begin_next()) return false;
    if (packets_->next(packet_.get())) {
      // The packets that the next segment rolls from, if they are those that they were at the scan.
      if (has_next() && segment_packets_ >= next_anchor().packets - index_.pre_roll) {
        if (segment_packets_ == next_anchor().packets - index_.pre_roll)
          leads_on_ = packets_->is_at(next_anchor(), packet_.get());
        if (!index_.forgets) history_.add(packet_.get(), packets_->place());
      }
      ++segment_packets_;
      error_ = decoder_->decode(packet_.get(), &pcm_);
      failed_ = error_ != 0;
      drop_skipped();
      return !failed_;
    }
    error_ = packets_->error();
    failed_ = true;
    if (!error_ && segment_ == index_.anchors.size()) decoder_->decode(nullptr, &pcm_);
    return decoded() > 0;
  }

  void drop_skipped() {
    const int64_t some = std::min(skip_, decoded());
    skip_ -= some;
    taken_ += some;
    if (decoded() > 0) return;
    pcm_.clear();
    taken_ = 0;
  }

  const FfmpegFormat format_;
  const PacketIndex index_;
  const int sample_rate_, channels_;
  std::unique_ptr<SegmentPackets> packets_;
  PacketPointer packet_;
  PacketHistory history_;
  std::unique_ptr<FfmpegDecoder> decoder_;
  std::vector<float> pcm_;
  int64_t taken_ = 0;     // frames of `pcm_` that have been taken
  int64_t skip_ = 0;      // frames to drop before the next one
  int64_t position_ = 0;  // of the next frame
  size_t segment_ = 0;
  int64_t segment_packets_ = 0;  // packets of the segment that have been decoded
  bool leads_on_ = false;  // whether the next segment's pre-roll is where the scan found it
  bool failed_ = false;    // whether nothing more can be decoded from here
  int error_ = 0;
};

}  // namespace

std::unique_ptr<Source> open_ffmpeg(const SourceSpec& spec) {
  PacketIndex index;
  if (!unpack(spec.seek_points.data(), spec.seek_points.size(), &index))
    throw_damaged_index();
  check_decoder(*spec.format.ffmpeg.library, index.decoder_major);
  return std::make_unique<FfmpegSource>(spec, std::move(index));
}

void PacketHistory::add(const ffmpeg::Packet* packet, const PacketPlace& place) {
  Entry entry{PacketPointer(library_), place};
  if (static_cast<int64_t>(entries_.size()) == most_) {
    std::swap(entry, entries_.front());
    entry.place = place;
    entries_.pop_front();
    library_.av_packet_unref(entry.packet.get());
  }
  if (library_.av_packet_ref(entry.packet.get(), packet) < 0)
    throw DecodeError("IO", "FFmpeg has no memory for a packet");
  // The pre-roll is thrown away whole: what a packet says of frames to skip is not for it.
  library_.av_packet_free_side_data(entry.packet.get());
  entries_.push_back(std::move(entry));
}

PacketPlace PacketHistory::place(int64_t count) const {
  const Entry& entry = entries_[entries_.size() - static_cast<size_t>(count)];
  PacketPlace place = entry.place;
  place.check = packet_check(entry.packet->data, entry.packet->size);
  return place;
}

SizeHash PacketHistory::sizes(int64_t count) const {
  SizeHash sizes;
  for (size_t i = entries_.size() - static_cast<size_t>(count); i < entries_.size(); ++i)
    sizes.add(entries_[i].packet->size);
  return sizes;
}

void PacketHistory::feed(FfmpegDecoder* decoder, int64_t count) const {
  for (int64_t i = count; i > 0; --i)
    decoder->decode(entries_[entries_.size() - static_cast<size_t>(i)].packet.get(), nullptr);
}

FfmpegWalk::FfmpegWalk(const Place& place, const FfmpegFormat& format)
    : format_(format), library_(*format.library), file_place_(place), file_(place, format_), packet_(library_) {
  index_.decoder_major = library_.avcodec_version() >> 16;
  index_.continuous = true;
}

void FfmpegWalk::set_rules(const AnchorRule& rule, const AnchorRule& rule_of_long_packets) {
  rule_ = rule;
  rule_of_long_packets_ = rule_of_long_packets;
  index_.pre_roll = rule.pre_roll;
  index_.forgets = rule.forgets;
  const bool by_time = rule.pre_roll_s > 0 || is_aac(codec());
  // One more, to compare the first with the one before it.
  history_ = std::make_unique<PacketHistory>(library_, 1 + (by_time ? MOST_PRE_ROLL : rule.pre_roll));
  decoder_ = std::make_unique<FfmpegDecoder>(file_, library_);
}

// Choose how many packets a pre-roll has: from those so far, before the first anchor.
void FfmpegWalk::set_pre_roll() {
  const double packets_in_s = static_cast<double>(read_packets_) * sample_rate_ /
                              static_cast<double>(index_.frames);
  const auto packets = static_cast<int64_t>(std::ceil(rule_.pre_roll_s * packets_in_s));
  index_.pre_roll = std::min(MOST_PRE_ROLL, std::max(rule_.pre_roll, packets));
}

bool FfmpegWalk::anchor_is_due() const {
  return sample_rate_ &&
         static_cast<double>(index_.frames - segment_start_) >= rule_.spacing_s * sample_rate_;
}

// Whether a seek cannot take another packet for the first one of the pre-roll.
bool FfmpegWalk::place_is_unique() const {
  const int64_t roll = index_.pre_roll;
  if (history_->size() <= roll || segment_packets_ < roll) return false;
  const auto alike = [](const PacketPlace& a, const PacketPlace& b) {
    return a.offset == b.offset && a.time == b.time && a.check == b.check;
  };
  const PacketPlace place = history_->place(roll);
  if (place.offset < 0) return false;  // FFmpeg does not know it, such as of a part of a packet
  return !alike(place, history_->place(roll + 1)) && (roll == 1 || !alike(place, history_->place(roll - 1)));
}

// Decode the packet, or what is left at the end.
int FfmpegWalk::decode(FfmpegDecoder* decoder, bool more) {
  pcm_.clear();
  const int error = decoder->decode(more ? packet_.get() : nullptr, &pcm_);
  packet_frames_ = decoder->channels ? static_cast<int64_t>(pcm_.size()) / decoder->channels : 0;
  return error;
}

// Begin to find the packets by a reader of our own, if there is one.
void FfmpegWalk::begin_following() {
  const auto decoder = decoder_settings(*file_.parameters());
  if (!decoder) return;
  try {
    const std::shared_ptr<const Bytes> bytes = open_bytes(file_place_);
    layout_ = begin_layout(format_.demuxer, bytes, file_.track_number(), file_.place(), packet_->data, packet_->size);
    if (!layout_) return;
    layout_->decoder = *decoder;
    follower_ = open_container(format_.demuxer, bytes, layout_->numbers);
    follower_->seek(layout_->first);
  } catch (const DecodeError&) {  // the demuxer will tell
    layout_.reset();
  }
}

// Compare the packet with the one that the reader finds.
void FfmpegWalk::follow() {
  if (read_packets_ == 0) begin_following();
  if (!layout_) return;
  const ffmpeg::Packet& packet = *packet_.get();
  const PacketPlace& place = file_.place();
  ContainerPacket found;
  const bool same = follower_->next(&found) && found.place.offset == place.offset &&
                    found.place.ordinal == place.ordinal && found.size == packet.size &&
                    std::memcmp(found.data, packet.data, static_cast<size_t>(found.size)) == 0;
  const auto dropped = dropped_frames(library_, packet);
  // Other side data is unknown.
  const bool is_known = packet.side_data_elems == (dropped ? 1 : 0) && !(packet.flags & ffmpeg::UNSURE);
  if (dropped) layout_->dropped.push_back({read_packets_, dropped->start, dropped->end});
  if (!same || !is_known || static_cast<int64_t>(layout_->dropped.size()) > ContainerLayout::MOST_DROPPED) {
    layout_.reset();
    follower_.reset();
    return;
  }
  layout_->stop = found.stop;
  entry_ = found.place.entry;
  sizes_.add(found.size);
}

// Where the hash of the current segment's sizes belongs.
uint16_t* FfmpegWalk::sizes_of_segment() {
  return index_.anchors.empty() ? &layout_->sizes : &index_.anchors.back().sizes;
}

// Decode the packet as the first of a segment, if that can be.
int FfmpegWalk::decode_at_anchor() {
  const Anchor anchor{index_.frames, segment_packets_, history_->place(index_.pre_roll), layout_ ? layout_->stop : 0};
  std::unique_ptr<FfmpegDecoder> fresh;
  int64_t fresh_frames = 0;
  if (!index_.forgets) {
    fresh = std::make_unique<FfmpegDecoder>(file_, library_);
    fresh->sample_rate = sample_rate_;
    fresh->channels = channels_;
    fresh->longest = decoder_->longest;
    history_->feed(fresh.get(), index_.pre_roll);
    try {
      if (decode(fresh.get(), true)) fresh.reset();
      fresh_frames = packet_frames_;
    } catch (const DecodeError&) {
      fresh.reset();
    }
  }
  const int error = decode(decoder_.get(), true);
  if (error || (!index_.forgets && (!fresh || fresh_frames != packet_frames_))) return error;
  if (layout_) {
    *sizes_of_segment() = sizes_.value();
    sizes_ = history_->sizes(index_.pre_roll);
  }
  index_.anchors.push_back(anchor);
  segment_start_ = index_.frames;
  segment_packets_ = 0;
  if (fresh) decoder_ = std::move(fresh);
  return 0;
}

int64_t FfmpegWalk::advance(int64_t frames) {
  const int64_t begin = index_.frames;
  while (!ended_ && index_.frames - begin < frames) {
    const bool more = file_.next(packet_.get());
    error_ = more ? 0 : file_.error();
    ended_ = !more;
    if (error_) break;
    index_.continuous = index_.continuous && (!more || file_.follows());
    const bool due = more && anchor_is_due();
    if (due && index_.anchors.empty()) set_pre_roll();
    error_ = due && place_is_unique() ? decode_at_anchor() : decode(decoder_.get(), more);
    if (more) {
      follow();
      PacketPlace place = file_.place();
      place.entry = entry_;
      history_->add(packet_.get(), place);
    }
    ++segment_packets_;
    ++read_packets_;
    sample_rate_ = decoder_->sample_rate;
    channels_ = decoder_->channels;
    index_.frames += packet_frames_;
    if (index_.anchors.empty() && is_aac(codec()) && decoder_->longest > 1024)
      rule_ = rule_of_long_packets_;
    if (error_) ended_ = true;
    if (more || error_ || !layout_) continue;
    *sizes_of_segment() = sizes_.value();
    layout_->packets = read_packets_ - 1;  // the last one is none
    index_.layout = std::move(layout_);
    layout_.reset();
  }
  return index_.frames - begin;
}

std::string FfmpegWalk::complaint() const { return ffmpeg_complaint(library_, error_); }

}  // namespace headrace
