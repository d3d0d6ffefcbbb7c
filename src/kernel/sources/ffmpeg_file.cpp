#include "sources/ffmpeg_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#include "sources/decode_error.h"
#include "sources/little_endian.h"

namespace headrace {
namespace {

using namespace ffmpeg;

constexpr int MOST_CHANNELS = 1024;  // libsndfile's SF_MAX_CHANNELS
constexpr int MOST_HZ = 10'000'000;  // as in codecs/_ffmpeg.py

// How far before a time stamp to look for a packet that is not found at it: in seconds. Numbers pulled out
// of the air; behind them the file is read from its start.
constexpr int64_t STEPS_BACK[] = {0, 1, 10};

// Bytes that FFmpeg asks for at a time: as many as it asks of a file (IO_BUFFER_SIZE in its aviobuf.c).
constexpr int INPUT_BUFFER = 1 << 15;

// Packets that are looked at behind the place to which a seek has led.
constexpr int64_t NEAR = 4096;

std::string error_text(const FfmpegFunctions& library, int error) {
  char text[128] = {};
  library.av_strerror(error, text, sizeof text);
  return text;
}

// Call `each` with every field that a decoder of audio is given, in the order of DecoderSettings.
template <typename Parameters, typename Each>
void for_settings(Parameters& from, Each each) {
  each(from.codec_id);
  each(from.codec_tag);
  each(from.format);
  each(from.bit_rate);
  each(from.bits_per_coded_sample);
  each(from.bits_per_raw_sample);
  each(from.profile);
  each(from.level);
  each(from.ch_layout.order);
  each(from.ch_layout.nb_channels);
  each(from.ch_layout.mask);
  each(from.sample_rate);
  each(from.block_align);
  each(from.frame_size);
  each(from.initial_padding);
  each(from.trailing_padding);
  each(from.seek_preroll);
}

[[noreturn]] void throw_no_memory() { throw DecodeError("IO", "FFmpeg has no memory for its decoder"); }

}  // namespace

std::string ffmpeg_complaint(const FfmpegFunctions& library, int error) {
  return error ? " (FFmpeg: " + error_text(library, error) + ")" : "";
}

void check_decoder(const FfmpegFunctions& library, int64_t scanned_major) {
  const int64_t major = library.avcodec_version() >> 16;
  if (major == scanned_major) return;
  throw DecodeError("UNSUPPORTED", "it was scanned with libavcodec " + std::to_string(scanned_major) +
                                       ", and this machine has " + std::to_string(major) +
                                       ", which may decode it otherwise: install the PyAV that it was scanned "
                                       "with, or scan again");
}

bool is_system_error(int error) {
  return error == -EIO || error == -ESTALE || error == -ETIMEDOUT || error == -EBADF || error == -ENXIO;
}

Stream* select_audio(const FormatContext* file) {
  Stream* found = nullptr;
  for (unsigned i = 0; i < file->nb_streams; ++i) {
    Stream* stream = file->streams[i];
    if (!found && stream->codecpar->codec_type == AUDIO)
      found = stream;
    else
      stream->discard = DISCARD_ALL;
  }
  return found;
}

PacketPointer::PacketPointer(const FfmpegFunctions& library)
    : library_(&library), packet_(library.av_packet_alloc()) {
  if (!packet_) throw_no_memory();
}
PacketPointer::~PacketPointer() {
  if (packet_) library_->av_packet_free(&packet_);
}

FfmpegInput::FfmpegInput(std::unique_ptr<Bytes> bytes, const FfmpegFunctions& library)
    : bytes_(std::move(bytes)), library_(library) {
  auto* buffer = static_cast<unsigned char*>(library_.av_malloc(INPUT_BUFFER));
  if (!buffer) throw_no_memory();
  context_ = library_.avio_alloc_context(
      buffer, INPUT_BUFFER, 0, this,
      [](void* user, uint8_t* to, int count) noexcept { return static_cast<FfmpegInput*>(user)->read(to, count); },
      nullptr,
      [](void* user, int64_t offset, int whence) noexcept {
        return static_cast<FfmpegInput*>(user)->seek(offset, whence);
      });
  if (context_) return;
  library_.av_free(buffer);
  throw_no_memory();
}

FfmpegInput::~FfmpegInput() {
  library_.av_free(context_->buffer);  // FFmpeg may have replaced the one that it was given
  library_.avio_context_free(&context_);
}

int FfmpegInput::read(uint8_t* to, int count) {
  const int64_t got = bytes_->read(at_, to, bytes_->at_hand(at_, count));
  if (got < 0) {
    system_error_ = errno ? errno : EIO;
    return -system_error_;
  }
  if (got == 0) return END_OF_FILE;
  at_ += got;
  return static_cast<int>(got);
}

int64_t FfmpegInput::seek(int64_t offset, int whence) {
  if (whence & SEEK_SIZE) return bytes_->size();
  whence &= ~SEEK_FORCE;
  const int64_t to = offset + (whence == SEEK_SET ? 0 : whence == SEEK_CUR ? at_ : bytes_->size());
  if (to < 0) return -EINVAL;
  return at_ = to;
}

FfmpegFile::FfmpegFile(const Place& place, const FfmpegFormat& format)
    : format_(format), library_(*format.library), place_of_file_(place), found_(library_) {
  try {
    open();
  } catch (...) {
    close();
    throw;
  }
}

FfmpegFile::~FfmpegFile() { close(); }

void FfmpegFile::close() {
  if (context_) library_.avformat_close_input(&context_);
  input_.reset();
}

int FfmpegFile::open_input() {
  const bool whole = place_of_file_.is_whole_file();
  if (!whole) {
    input_ = std::make_unique<FfmpegInput>(open_bytes(place_of_file_), library_);
    context_ = library_.avformat_alloc_context();
    if (!context_) throw_no_memory();
    context_->pb = input_->get();
  }
  Dictionary* options = nullptr;
  library_.av_dict_set(&options, "protocol_whitelist", whole ? "file" : "none", 0);
  library_.av_dict_set(&options, "format_whitelist", format_.demuxer.c_str(), 0);
  const std::string url = whole ? "file:" + place_of_file_.path : "";
  const int error = library_.avformat_open_input(
      &context_, url.c_str(), library_.av_find_input_format(format_.demuxer.c_str()), &options);
  library_.av_dict_free(&options);
  return error < 0 ? error : library_.avformat_find_stream_info(context_, nullptr);
}

void FfmpegFile::open() {
  const int error = open_input();
  if (input_ && input_->system_error())
    throw DecodeError("IO", "the file cannot be read" + ffmpeg_complaint(library_, -input_->system_error()));
  if (error < 0 && input_)
    throw DecodeError("NOT_AUDIO", "no decoder recognises it" + ffmpeg_complaint(library_, error));
  if (error < 0) {
    // FFmpeg calls damage "Operation not permitted": ask the system itself.
    const int descriptor = ::open(place_of_file_.path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) throw_system_error(errno);
    char byte;
    const bool readable = ::read(descriptor, &byte, 1) >= 0;
    const int number = errno;
    ::close(descriptor);
    if (!readable) throw_system_error(number);
    throw DecodeError("NOT_AUDIO", "no decoder recognises it" + ffmpeg_complaint(library_, error));
  }
  track_ = select_audio(context_);
  if (!track_) throw DecodeError("EMPTY", "the file has no audio track");
  if (!library_.avcodec_find_decoder(track_->codecpar->codec_id))
    throw DecodeError("UNSUPPORTED", "FFmpeg has no decoder for its audio: convert the file to FLAC");
  codec_ = library_.avcodec_get_name(track_->codecpar->codec_id);
  if (!format_.codec.empty() && codec_ != format_.codec)
    throw DecodeError("CHANGED", "decoding gives the sample format " + codec_ + ", but gave " +
                                     format_.codec + " when the file was scanned: scan again");
  last_offset_ = -1;
  ordinal_ = read_ = 0;
  has_found_ = false;
  last_time_ = PacketPlace::NO_TIME;
  error_ = 0;
}

void FfmpegFile::rewind() {
  if (!read_) return;
  close();
  open();
}

bool FfmpegFile::follows_last(const Packet* packet) const {
  const Rational& base = track_->time_base;
  const int64_t time = packet->dts == NO_TIMESTAMP ? packet->pts : packet->dts;
  if (time == NO_TIMESTAMP || last_time_ == PacketPlace::NO_TIME || base.num <= 0 || base.den <= 0) return true;
  // Time stamps are rounded, to a millisecond in some containers.
  const int64_t tolerance = std::max<int64_t>(2, base.den / (400 * static_cast<int64_t>(base.num)));
  if (last_duration_ <= 2 * tolerance || last_duration_ > INT32_MAX) return true;
  constexpr int64_t MOST = int64_t{1} << 60;
  if (time > MOST || time < -MOST || last_time_ > MOST || last_time_ < -MOST) return true;
  return std::abs(time - last_time_ - last_duration_) <= tolerance;
}

bool FfmpegFile::next(Packet* packet) {
  follows_ = true;
  if (has_found_) {
    has_found_ = false;
    std::swap(*packet, *found_.get());
    return true;
  }
  for (;;) {
    library_.av_packet_unref(packet);
    const int error = library_.av_read_frame(context_, packet);
    if (error < 0) {
      error_ = error == END_OF_FILE ? 0 : error;
      if (input_ && input_->system_error()) error_ = -EIO;
      return false;
    }
    ++read_;
    if (packet->stream_index != track_->index) continue;
    follows_ = follows_last(packet);
    last_time_ = packet->dts == NO_TIMESTAMP ? packet->pts : packet->dts;
    last_duration_ = packet->duration;
    ordinal_ = packet->pos == last_offset_ ? ordinal_ + 1 : 0;
    last_offset_ = packet->pos;
    place_ = {packet->pos, ordinal_, packet->dts == NO_TIMESTAMP ? packet->pts : packet->dts, 0};
    return true;
  }
}

bool FfmpegFile::is_at(const PacketPlace& place, const Packet* packet) const {
  return place_.offset == place.offset && packet_check(packet->data, packet->size) == place.check;
}

bool FfmpegFile::find(const PacketPlace& place, bool from_start, int64_t number) {
  Packet* packet = found_.get();
  has_found_ = false;
  for (int64_t i = 0; from_start ? i <= number : i < NEAR; ++i) {
    if (!next(packet)) return false;
    if (from_start && i < number) continue;
    const bool same = (from_start || (format_.byte_seek ? place_.ordinal == place.ordinal
                                                        : place_.time == place.time)) &&
                      is_at(place, packet);
    if (same) {
      place_ = place;
      ordinal_ = place.ordinal;
      has_found_ = true;
      return true;
    }
    if (!from_start && format_.byte_seek && place_.offset > place.offset) return false;
  }
  return false;
}

void FfmpegFile::seek(const PacketPlace& place, int64_t number) {
  last_time_ = PacketPlace::NO_TIME;
  const bool timed = place.time != PacketPlace::NO_TIME;
  if (format_.byte_seek) {
    last_offset_ = -1;
    if (library_.av_seek_frame(context_, -1, place.offset, SEEK_BYTE) >= 0 && find(place, false, number))
      return;
  } else if (timed && track_->time_base.num > 0) {
    for (const int64_t back : STEPS_BACK) {
      const int64_t time = place.time - back * track_->time_base.den / track_->time_base.num;
      if (library_.av_seek_frame(context_, track_->index, time, SEEK_BACKWARD) < 0) continue;
      last_offset_ = -1;
      last_time_ = PacketPlace::NO_TIME;
      ++read_;
      if (find(place, false, number)) return;
    }
  }
  ++read_;
  rewind();
  if (!find(place, true, number))
    throw DecodeError("CHANGED",
                      "the file's packets are not where they were when it was scanned: scan again" +
                          ffmpeg_complaint(library_, error_));
}

FfmpegDecoder::FfmpegDecoder(const FfmpegFile& file, const FfmpegFunctions& library) : library_(library) {
  open(library_.avcodec_find_decoder(file.parameters()->codec_id), file.parameters());
}

FfmpegDecoder::FfmpegDecoder(const char* name, const std::string& extradata, const FfmpegFunctions& library)
    : library_(library) {
  const Codec* codec = library_.avcodec_find_decoder_by_name(name);
  if (!codec) throw DecodeError("UNSUPPORTED", std::string("this FFmpeg has no decoder for ") + name);
  CodecParameters* parameters = library_.avcodec_parameters_alloc();
  if (!parameters) throw_no_memory();
  parameters->codec_id = codec->id;
  open_with(codec, parameters, extradata);
}

FfmpegDecoder::FfmpegDecoder(const DecoderSettings& settings, const FfmpegFunctions& library) : library_(library) {
  CodecParameters* parameters = library_.avcodec_parameters_alloc();
  if (!parameters) throw_no_memory();
  auto value = settings.values.begin();
  for_settings(*parameters, [&](auto& field) { field = static_cast<std::decay_t<decltype(field)>>(*value++); });
  const Codec* codec = library_.avcodec_find_decoder(parameters->codec_id);
  if (!codec) {
    library_.avcodec_parameters_free(&parameters);
    throw DecodeError("UNSUPPORTED", "this FFmpeg has no decoder for its audio");
  }
  open_with(codec, parameters, settings.extradata);
}

// Open a decoder and free the parameters.
void FfmpegDecoder::open_with(const Codec* codec, CodecParameters* parameters, const std::string& extradata) {
  parameters->codec_type = AUDIO;
  // The decoder gets a copy.
  parameters->extradata = extradata.empty() ? nullptr : reinterpret_cast<uint8_t*>(const_cast<char*>(extradata.data()));
  parameters->extradata_size = static_cast<int>(extradata.size());
  const auto free_parameters = [&] {
    parameters->extradata = nullptr;
    parameters->extradata_size = 0;
    library_.avcodec_parameters_free(&parameters);
  };
  try {
    open(codec, parameters);
  } catch (...) {
    free_parameters();
    throw;
  }
  free_parameters();
}

std::optional<DecoderSettings> decoder_settings(const CodecParameters& parameters) {
  constexpr int64_t MOST = int64_t{1} << 60;  // that an index can say
  // A map of channels stands elsewhere in memory.
  if (parameters.nb_coded_side_data || parameters.ch_layout.order > NATIVE_ORDER || parameters.extradata_size > 1 << 16)
    return std::nullopt;
  DecoderSettings settings;
  auto value = settings.values.begin();
  bool is_small = true;
  for_settings(parameters, [&](const auto& field) {
    *value = static_cast<int64_t>(field);
    is_small = is_small && *value >= -MOST && *value <= MOST;
    ++value;
  });
  if (!is_small) return std::nullopt;
  if (parameters.extradata_size > 0)
    settings.extradata.assign(reinterpret_cast<const char*>(parameters.extradata),
                              static_cast<size_t>(parameters.extradata_size));
  return settings;
}

void FfmpegDecoder::open(const Codec* codec, const CodecParameters* parameters) {
  frame_ = library_.av_frame_alloc();
  context_ = library_.avcodec_alloc_context3(codec);
  int error = -ENOMEM;
  if (frame_ && context_) error = library_.avcodec_parameters_to_context(context_, parameters);
  if (error >= 0) error = library_.avcodec_open2(context_, codec, nullptr);
  if (error >= 0) return;
  library_.avcodec_free_context(&context_);
  library_.av_frame_free(&frame_);
  throw DecodeError("NOT_AUDIO", "no decoder recognises it" + ffmpeg_complaint(library_, error));
}

std::optional<DroppedFrames> dropped_frames(const FfmpegFunctions& library, const Packet& packet) {
  size_t size = 0;
  const uint8_t* data = library.av_packet_get_side_data(&packet, SKIP_SAMPLES, &size);
  if (!data || size < 8) return std::nullopt;
  return DroppedFrames{0, static_cast<uint32_t>(little_endian(data, 4)),
                       static_cast<uint32_t>(little_endian(data + 4, 4))};
}

void drop_frames(const FfmpegFunctions& library, const DroppedFrames& dropped, Packet* packet) {
  constexpr size_t SIZE = 10;  // two numbers, and two bytes for reasons
  uint8_t* data = library.av_packet_new_side_data(packet, SKIP_SAMPLES, SIZE);
  if (!data) throw_no_memory();
  std::memset(data, 0, SIZE);
  for (int i = 0; i < 4; ++i) {
    data[i] = static_cast<uint8_t>(dropped.start >> 8 * i);
    data[4 + i] = static_cast<uint8_t>(dropped.end >> 8 * i);
  }
}

FfmpegDecoder::~FfmpegDecoder() {
  library_.avcodec_free_context(&context_);
  library_.av_frame_free(&frame_);
}

int FfmpegDecoder::decode(const Packet* packet, std::vector<float>* pcm) {
  int error = library_.avcodec_send_packet(context_, packet);
  if (error < 0) return error == END_OF_FILE ? 0 : error;
  for (;;) {
    error = library_.avcodec_receive_frame(context_, frame_);
    if (error < 0) return error == -EAGAIN || error == END_OF_FILE ? 0 : error;
    given += frame_->nb_samples;
    append(pcm);
  }
}

void FfmpegDecoder::append(std::vector<float>* pcm) {
  if (!pcm) return;  // of a pre-roll, not even the rate counts
  const auto other = [&](const std::string& now, const std::string& then) {
    if (scanned)
      return DecodeError("CHANGED", "decoding gives " + now + ", but gave " + then +
                                        " when the file was scanned: scan again");
    return DecodeError("UNSUPPORTED",
                       "the audio has " + then + " first, and then " + now + ": convert the file");
  };
  const int now_channels = frame_->ch_layout.nb_channels;
  if (!sample_rate) sample_rate = frame_->sample_rate;
  if (!channels) channels = now_channels;
  if (frame_->sample_rate != sample_rate)
    throw other("a sample rate of " + std::to_string(frame_->sample_rate) + " Hz",
                std::to_string(sample_rate) + " Hz");
  if (now_channels != channels)
    throw other(std::to_string(now_channels) + " channels", std::to_string(channels));
  if (sample_rate <= 0 || sample_rate > MOST_HZ || channels <= 0 || channels > MOST_CHANNELS)
    throw DecodeError("UNSUPPORTED", "decoding gives " + std::to_string(channels) + " channels at " +
                                         std::to_string(sample_rate) +
                                         " Hz, more than any recording has: it is damaged");
  const int count = frame_->nb_samples;
  if (count > longest) longest = count;
  if (frame_->format < U8 || frame_->format > DBLP)
    throw DecodeError("UNSUPPORTED", "its samples are of a type that is not read: convert the file");
  const size_t at = pcm->size();
  pcm->resize(at + static_cast<size_t>(count) * static_cast<size_t>(channels));
  float* to = pcm->data() + at;
  const bool planar = frame_->format >= U8P;
  // Convert sample i of each channel: `value` rounds once at most.
  const auto each = [&](auto example, auto value) {
    using Sample = decltype(example);
    const auto plane = [&](int c) { return reinterpret_cast<const Sample*>(frame_->extended_data[c]); };
    if (!planar || channels == 1) {  // in the order that is wanted
      const Sample* from = plane(0);
      const size_t all = static_cast<size_t>(count) * static_cast<size_t>(channels);
      for (size_t i = 0; i < all; ++i) to[i] = value(from[i]);
    } else if (channels == 2) {
      const Sample *left = plane(0), *right = plane(1);
      for (int i = 0; i < count; ++i) {
        to[2 * i] = value(left[i]);
        to[2 * i + 1] = value(right[i]);
      }
    } else {
      for (int c = 0; c < channels; ++c) {
        const Sample* from = plane(c);
        for (int i = 0; i < count; ++i) to[i * channels + c] = value(from[i]);
      }
    }
  };
  switch (planar ? frame_->format - U8P : frame_->format) {
    case U8:
      return each(uint8_t{}, [](uint8_t v) { return static_cast<float>((v - 128) * 0x1p-7f); });
    case S16:
      return each(int16_t{}, [](int16_t v) { return static_cast<float>(v) * 0x1p-15f; });
    case S32:
      return each(int32_t{}, [](int32_t v) { return static_cast<float>(v * 0x1p-31); });
    case FLT:
      return each(float{}, [](float v) { return v; });
    default:
      return each(double{}, [](double v) { return static_cast<float>(v); });
  }
}

}  // namespace headrace
