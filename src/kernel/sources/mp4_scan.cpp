#include "sources/mp4_scan.h"

#include <memory>
#include <utility>
#include <vector>

#include "sources/decode_error.h"
#include "sources/ffmpeg_file.h"
#include "sources/mp4_table.h"

namespace headrace {
namespace {

using namespace ffmpeg;

constexpr int64_t AAC_FRAMES = 1024;

// FFmpeg's demuxer, reading a Mp4Head.
class Demuxer {
 public:
  Demuxer(std::unique_ptr<Mp4Head> head, const FfmpegFunctions& library)
      : library_(library), head_(*head), input_(std::move(head), library) {
    context_ = library_.avformat_alloc_context();
    if (!context_) return;
    context_->pb = input_.get();
    Dictionary* options = nullptr;
    library_.av_dict_set(&options, "protocol_whitelist", "none", 0);
    library_.av_dict_set(&options, "format_whitelist", "mov", 0);
    library_.av_dict_set(&options, "ignore_chapters", "1", 0);  // their titles stand beside the audio
    const int error = library_.avformat_open_input(&context_, "", library_.av_find_input_format("mov"), &options);
    library_.av_dict_free(&options);
    if (error < 0) return;  // FFmpeg has closed it
    track_ = select_audio(context_);
  }
  ~Demuxer() {
    if (context_) library_.avformat_close_input(&context_);
  }
  Demuxer(const Demuxer&) = delete;
  Demuxer& operator=(const Demuxer&) = delete;

  // Null if the file cannot be opened, has no audio track, or needs other bytes than the head's.
  Stream* track() const { return head_.strayed() ? nullptr : track_; }
  const Mp4Head& head() const { return head_; }

  // List the packets, and what is dropped at the start, which FFmpeg tells with the first packet. False if it cannot
  // be told.
  bool list(Mp4Track* track) {
    const int count = library_.avformat_index_get_entries_count(track_);
    if (count < 1) return false;
    track->packets.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) {
      const IndexEntry* entry = library_.avformat_index_get_entry(track_, i);
      if (!entry) return false;
      track->packets.push_back({entry->pos, entry->size, (entry->flags & INDEX_DISCARD) != 0});
    }
    PacketPointer packet(library_);
    do {
      library_.av_packet_unref(packet.get());
      if (library_.av_read_frame(context_, packet.get()) < 0) return false;
    } while (packet->stream_index != track_->index);
    const Mp4Track::Packet& first = track->packets.front();
    if (packet->pos != first.offset || packet->size != first.size) return false;
    const auto dropped = dropped_frames(library_, *packet.get());
    if (dropped && dropped->end) return false;
    if (dropped) track->skip = dropped->start;
    return true;
  }

  // Whether the time stamps say that each packet but the last has as many frames.
  bool is_regular(int64_t frames, int sample_rate) {
    if (track_->time_base.num != 1 || track_->time_base.den != sample_rate) return false;
    const int count = library_.avformat_index_get_entries_count(track_);
    int64_t last = 0;
    for (int i = 0; i < count; ++i) {
      const int64_t time = library_.avformat_index_get_entry(track_, i)->timestamp;
      if (i && time - last != frames) return false;
      last = time;
    }
    return true;
  }

 private:
  const FfmpegFunctions& library_;
  const Mp4Head& head_;
  FfmpegInput input_;
  FormatContext* context_ = nullptr;
  Stream* track_ = nullptr;
};

// How many frames a packet gives; 0 if it gives none, or not what the track's header says.
int64_t frames_of(const Bytes& bytes, const Mp4Track::Packet& place, const std::string& codec,
                  const std::string& extradata, int sample_rate, int channels, const FfmpegFunctions& library) {
  if (place.size < 1 || place.size > 1 << 20) return 0;
  std::vector<uint8_t> data(static_cast<size_t>(place.size));
  if (bytes.read(place.offset, data.data(), place.size) != place.size) return 0;
  try {
    FfmpegDecoder decoder(codec.c_str(), extradata, library);
    PacketPointer packet(library);
    packet->data = data.data();  // FFmpeg copies it
    packet->size = place.size;
    std::vector<float> pcm;
    const int error = decoder.decode(packet.get(), &pcm);
    packet->data = nullptr;
    packet->size = 0;
    return error || decoder.sample_rate != sample_rate || decoder.channels != channels ? 0 : decoder.given;
  } catch (const DecodeError&) {
    return 0;
  }
}

}  // namespace

std::optional<Mp4Scan> scan_mp4(const Place& place, const FfmpegFunctions& library, const AnchorRule& aac,
                                const AnchorRule& alac) {
  const std::unique_ptr<Bytes> bytes = open_bytes(place);
  auto head = std::make_unique<Mp4Head>(*bytes);
  if (!head->complete()) return std::nullopt;
  Demuxer demuxer(std::move(head), library);
  const Stream* stream = demuxer.track();
  if (!stream) return std::nullopt;
  const CodecParameters& parameters = *stream->codecpar;
  Mp4Scan scan{library.avcodec_get_name(parameters.codec_id), 0, 0, {}};
  Mp4Track track;
  if (parameters.extradata_size > 0)
    track.extradata.assign(reinterpret_cast<const char*>(parameters.extradata),
                           static_cast<size_t>(parameters.extradata_size));
  const bool is_aac = scan.codec == "aac";
  const auto aac_config = is_aac ? read_aac_config(track.extradata) : std::nullopt;
  const auto alac_config = scan.codec == "alac" ? read_alac_config(track.extradata) : std::nullopt;
  if ((!aac_config && !alac_config) || !demuxer.list(&track)) return std::nullopt;
  const auto frames_in = [&](const Mp4Track::Packet& packet) {
    return frames_of(*bytes, packet, scan.codec, track.extradata, scan.sample_rate, scan.channels, library);
  };
  if (is_aac) {
    scan.sample_rate = aac_config->sample_rate;
    scan.channels = aac_config->channels;
    track.packet_frames = track.last_frames = AAC_FRAMES;
    if (!aac_config->no_sbr && frames_in(track.packets.front()) != AAC_FRAMES) return std::nullopt;
  } else {
    scan.sample_rate = alac_config->sample_rate;
    scan.channels = alac_config->channels;
    track.packet_frames = alac_config->packet_frames;
    track.last_frames = frames_in(track.packets.back());
    if (!demuxer.is_regular(track.packet_frames, scan.sample_rate)) return std::nullopt;
  }
  track.sample_rate = scan.sample_rate;
  auto index = index_mp4(track, is_aac ? aac : alac, demuxer.head().moov(), demuxer.head().moov_offset(),
                         demuxer.head().moov_size(), demuxer.head().size());
  if (!index) return std::nullopt;
  scan.index = std::move(*index);
  scan.index.decoder_major = library.avcodec_version() >> 16;
  return scan;
}

}  // namespace headrace
