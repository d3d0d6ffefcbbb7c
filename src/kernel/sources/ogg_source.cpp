#include "sources/ogg_source.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "sources/decode_error.h"
#include "sources/ffmpeg_file.h"
#include "sources/ogg_feed.h"
#include "sources/place.h"

namespace headrace {
namespace {

class OggSource : public Source {
 public:
  OggSource(const SourceSpec& spec, OggIndex index)
      : library_(*spec.format.ffmpeg.library),
        sample_rate_(spec.format.sample_rate),
        channels_(spec.format.channels),
        feed_(open_bytes(spec.place), std::move(index)),
        packet_(library_) {}

  int64_t read(void* to, int64_t frames) override {
    if (!decoder_) go_to(position_);
    auto* out = static_cast<float*>(to);
    int64_t done = 0;
    while (done < frames) {
      const int64_t some = std::min(frames - done, ready());
      if (some == 0) {
        if (!decode_more()) break;
        continue;
      }
      std::memcpy(out + done * channels_, pcm_.data() + taken_ * channels_,
                  static_cast<size_t>(some * channels_) * sizeof(float));
      taken_ += some;
      position_ += some;
      done += some;
    }
    return done;
  }

  void seek(int64_t frame) override {
    if (!decoder_) return go_to(frame);
    if (!failed_ && frame >= position_ && frame <= position_ + ready()) {
      taken_ += frame - position_;
      position_ = frame;
      return;
    }
    const OggRun& run = feed_.run();
    const bool in_run = frame >= run.begin && frame < run.stop;
    if (!failed_ && opus() && in_run && frame > position_) {
      // The decoder has to go on from where it is.
      position_ = frame;
      pcm_.clear();
      taken_ = 0;
      return;
    }
    go_to(frame);
  }

  int64_t resume(int64_t frame) override {
    const OggIndex& index = feed_.index();
    for (size_t link = index.link_at(frame); link < index.links.size(); ++link) {
      if (link > index.link_at(frame) && decodes(index.links[link].start)) return index.links[link].start;
      for (const OggAnchor& anchor : index.links[link].anchors)
        if (anchor.start > frame && decodes(anchor.start)) return anchor.start;
    }
    return -1;
  }

  std::string complaint() override {
    return error_ ? ffmpeg_complaint(library_, error_) : complaint_;
  }
  bool system_failed() override { return false; }

 private:
  bool opus() const { return feed_.index().codec == OggCodec::OPUS; }
  int64_t ready() const { return static_cast<int64_t>(pcm_.size()) / channels_ - taken_; }

  void replace_decoder() {
    decoder_.reset();
    decoder_ = std::make_unique<FfmpegDecoder>(name_of(feed_.index().codec), feed_.extradata(), library_);
    decoder_->sample_rate = sample_rate_;
    decoder_->channels = channels_;
    decoder_->scanned = true;
  }

  void begin_run() {
    given_ = feed_.run().first;
    flushed_ = false;
  }

  // Go to a frame. What has been decoded is dropped.
  void go_to(int64_t frame) {
    pcm_.clear();
    taken_ = 0;
    failed_ = true;  // until it has succeeded
    error_ = 0;
    complaint_.clear();
    const bool replaced = feed_.seek(frame) || !decoder_;
    if (replaced) replace_decoder();
    begin_run();
    position_ = frame;
    failed_ = false;
  }

  bool decodes(int64_t frame) {
    try {
      go_to(frame);
      return decode_more();
    } catch (const DecodeError&) {
      return false;
    }
  }

  bool fail(const std::string& why) {
    failed_ = true;
    complaint_ = why;
    return false;
  }

  // Decode until there are frames from `position_` on. Return false where decoding ends.
  bool decode_more() {
    if (failed_) return false;
    pcm_.clear();
    taken_ = 0;
    while (!ready()) {
      if (position_ == feed_.run().stop) {
        if (!feed_.next_run()) return false;
        replace_decoder();
        begin_run();
      }
      if (!decode_packet()) return false;
    }
    return true;
  }

  // Decode one packet, or what is left behind the last one. Keep what belongs to the recording.
  bool decode_packet() {
    OggFed fed;
    failed_ = true;  // if it throws
    const bool more = feed_.next(&fed);
    failed_ = false;
    if (!more && (flushed_ || !feed_.complaint().empty())) return fail(feed_.complaint());
    flushed_ = !more;
    if (more) {
      packet_->data = const_cast<uint8_t*>(fed.data);  // FFmpeg copies it
      packet_->size = static_cast<int>(fed.size);
      // Of Vorbis the packet says where its frames belong. Opus may be late with them.
      if (!opus()) given_ = fed.position;
    }
    const int64_t before = decoder_->given;
    const bool dropped = fed.primes || (more && opus() && fed.position + fed.frames <= position_);
    failed_ = true;  // if it throws
    error_ = decoder_->decode(more ? packet_.get() : nullptr, dropped ? nullptr : &pcm_);
    failed_ = false;
    packet_->data = nullptr;
    packet_->size = 0;
    if (fed.primes) {
      pcm_.clear();
      return true;  // an error in it counts where it is needed
    }
    if (error_) return fail("");
    const int64_t frames = decoder_->given - before;
    if (more && !opus() && frames != fed.frames)
      return fail(" (FFmpeg: a packet gives " + std::to_string(frames) + " frames, and has " +
                  std::to_string(fed.frames) + ")");
    const int64_t first = std::max(given_, position_), stop = std::min(given_ + frames, feed_.run().stop);
    if (dropped || stop <= first) {
      pcm_.clear();
    } else {
      pcm_.resize(static_cast<size_t>((stop - given_) * channels_));
      taken_ = first - given_;
      if (first != position_) return fail(" (FFmpeg: frames are missing)");
    }
    given_ += frames;
    return true;
  }

  const FfmpegFunctions& library_;
  const int sample_rate_, channels_;
  OggFeed feed_;
  PacketPointer packet_;
  std::unique_ptr<FfmpegDecoder> decoder_;
  std::vector<float> pcm_;
  int64_t taken_ = 0;     // frames of `pcm_` that have been taken, or do not belong to the recording
  int64_t position_ = 0;  // of the next frame
  int64_t given_ = 0;     // the frame that the decoder gives next
  bool flushed_ = false;  // whether the decoder has given what is left
  bool failed_ = false;   // whether nothing more can be decoded from here
  int error_ = 0;
  std::string complaint_;
};

}  // namespace

std::unique_ptr<Source> open_ogg(const SourceSpec& spec) {
  OggIndex index;
  if (!unpack(spec.seek_points.data(), spec.seek_points.size(), &index))
    throw DecodeError("CHANGED", "the catalog's index of the file is damaged: scan again");
  check_decoder(*spec.format.ffmpeg.library, index.decoder_major);
  return std::make_unique<OggSource>(spec, std::move(index));
}

}  // namespace headrace
