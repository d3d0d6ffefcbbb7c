// The part of FFmpeg's libraries that is used, through the functions of the libraries that the PyAV package
// ships.
//
// The kernel links no FFmpeg of its own: it is given the addresses of the functions. The structs below are
// the beginnings of the public ones, in the order of the libraries' major versions avformat 62, avcodec 62
// and avutil 60 (FFmpeg 8). Within a major version FFmpeg only adds fields behind those that there are.
// No others are called: codecs/_ffmpeg_library.py sees to that.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

namespace headrace::ffmpeg {

struct Rational {
  int num, den;
};

struct ChannelLayout {  // AVChannelLayout
  int order, nb_channels;
  uint64_t mask;
  void* opaque;
};

struct CodecParameters {  // AVCodecParameters
  int codec_type;
  int codec_id;
  uint32_t codec_tag;
  uint8_t* extradata;
  int extradata_size;
  void* coded_side_data;
  int nb_coded_side_data, format;
  int64_t bit_rate;
  int bits_per_coded_sample, bits_per_raw_sample, profile, level, width, height;
  Rational sample_aspect_ratio, framerate;
  int field_order, color_range, color_primaries, color_trc, color_space, chroma_location, video_delay;
  ChannelLayout ch_layout;
  int sample_rate, block_align, frame_size, initial_padding, trailing_padding, seek_preroll;
};

struct Stream {  // AVStream
  const void* av_class;
  int index, id;
  CodecParameters* codecpar;
  void* priv_data;
  Rational time_base;
  int64_t start_time, duration, nb_frames;
  int disposition, discard;
};

struct FormatContext {  // AVFormatContext
  const void *av_class, *iformat, *oformat;
  void *priv_data, *pb;
  int ctx_flags;
  unsigned nb_streams;
  Stream** streams;
};

struct IoContext {  // AVIOContext
  const void* av_class;
  unsigned char* buffer;
};

struct Packet {  // AVPacket
  void* buf;
  int64_t pts, dts;
  uint8_t* data;
  int size, stream_index, flags;
  void* side_data;
  int side_data_elems;
  int64_t duration, pos;
};

struct IndexEntry {  // AVIndexEntry
  int64_t pos, timestamp;
  int flags : 2, size : 30;
  int min_distance;
};

struct Frame {  // AVFrame
  uint8_t* data[8];
  int linesize[8];
  uint8_t** extended_data;
  int width, height, nb_samples, format, pict_type;
  Rational sample_aspect_ratio;
  int64_t pts, pkt_dts;
  Rational time_base;
  int quality;
  void* opaque;
  int repeat_pict, sample_rate;
  void* buf[8];
  void** extended_buf;
  int nb_extended_buf;
  void** side_data;
  int nb_side_data, flags, color_range, color_primaries, color_trc, colorspace, chroma_location;
  int64_t best_effort_timestamp;
  void* metadata;
  int decode_error_flags;
  void *hw_frames_ctx, *opaque_ref;
  size_t crop_top, crop_bottom, crop_left, crop_right;
  void* private_ref;
  ChannelLayout ch_layout;
};

constexpr int SEEK_SIZE = 0x10000;              // AVSEEK_SIZE: tell the size
constexpr int SEEK_FORCE = 0x20000;             // AVSEEK_FORCE: a flag to be ignored
constexpr int UNSURE = 2 | 4;                   // AV_PKT_FLAG_CORRUPT, AV_PKT_FLAG_DISCARD
constexpr int NATIVE_ORDER = 1;                 // AV_CHANNEL_ORDER_NATIVE
constexpr int AUDIO = 1;                        // AVMEDIA_TYPE_AUDIO
constexpr int DISCARD_ALL = 48;                 // AVDISCARD_ALL
constexpr int SEEK_BACKWARD = 1, SEEK_BYTE = 2;  // AVSEEK_FLAG_*
constexpr int INDEX_DISCARD = 2;                // AVINDEX_DISCARD_FRAME
constexpr int SKIP_SAMPLES = 11;                // AV_PKT_DATA_SKIP_SAMPLES
constexpr int64_t NO_TIMESTAMP = INT64_MIN;     // AV_NOPTS_VALUE
constexpr int END_OF_FILE = -0x20464F45;        // AVERROR_EOF
constexpr int INVALID_DATA = -0x41444E49;       // AVERROR_INVALIDDATA

// enum AVSampleFormat
enum SampleFormat { U8, S16, S32, FLT, DBL, U8P, S16P, S32P, FLTP, DBLP };

struct Codec {  // AVCodec
  const char *name, *long_name;
  int type, id;
};

struct CodecContext;
struct InputFormat;
struct Dictionary;

}  // namespace headrace::ffmpeg

namespace headrace {

struct FfmpegFunctions {
  unsigned (*avcodec_version)();
  // libavformat
  ffmpeg::FormatContext* (*avformat_alloc_context)();
  ffmpeg::IoContext* (*avio_alloc_context)(unsigned char* buffer, int size, int writes, void* user,
                                           int (*read)(void* user, uint8_t* to, int count),
                                           int (*write)(void* user, const uint8_t* from, int count),
                                           int64_t (*seek)(void* user, int64_t offset, int whence));
  void (*avio_context_free)(ffmpeg::IoContext**);
  const ffmpeg::InputFormat* (*av_find_input_format)(const char* name);
  int (*avformat_open_input)(ffmpeg::FormatContext**, const char* url, const ffmpeg::InputFormat*,
                             ffmpeg::Dictionary**);
  int (*avformat_find_stream_info)(ffmpeg::FormatContext*, ffmpeg::Dictionary**);
  void (*avformat_close_input)(ffmpeg::FormatContext**);
  int (*av_read_frame)(ffmpeg::FormatContext*, ffmpeg::Packet*);
  int (*av_seek_frame)(ffmpeg::FormatContext*, int stream, int64_t to, int flags);
  int (*avformat_index_get_entries_count)(const ffmpeg::Stream*);
  const ffmpeg::IndexEntry* (*avformat_index_get_entry)(ffmpeg::Stream*, int number);
  // libavcodec
  const ffmpeg::Codec* (*avcodec_find_decoder)(int id);
  const ffmpeg::Codec* (*avcodec_find_decoder_by_name)(const char* name);
  const char* (*avcodec_get_name)(int id);
  ffmpeg::CodecContext* (*avcodec_alloc_context3)(const ffmpeg::Codec*);
  ffmpeg::CodecParameters* (*avcodec_parameters_alloc)();
  void (*avcodec_parameters_free)(ffmpeg::CodecParameters**);
  int (*avcodec_parameters_to_context)(ffmpeg::CodecContext*, const ffmpeg::CodecParameters*);
  int (*avcodec_open2)(ffmpeg::CodecContext*, const ffmpeg::Codec*, ffmpeg::Dictionary**);
  void (*avcodec_free_context)(ffmpeg::CodecContext**);
  int (*avcodec_send_packet)(ffmpeg::CodecContext*, const ffmpeg::Packet*);
  int (*avcodec_receive_frame)(ffmpeg::CodecContext*, ffmpeg::Frame*);
  ffmpeg::Packet* (*av_packet_alloc)();
  void (*av_packet_free)(ffmpeg::Packet**);
  void (*av_packet_unref)(ffmpeg::Packet*);
  int (*av_packet_ref)(ffmpeg::Packet* to, const ffmpeg::Packet* from);
  void (*av_packet_free_side_data)(ffmpeg::Packet*);
  const uint8_t* (*av_packet_get_side_data)(const ffmpeg::Packet*, int type, size_t* size);
  uint8_t* (*av_packet_new_side_data)(ffmpeg::Packet*, int type, size_t size);
  // libavutil
  void* (*av_malloc)(size_t size);
  void (*av_free)(void*);
  ffmpeg::Frame* (*av_frame_alloc)();
  void (*av_frame_free)(ffmpeg::Frame**);
  int (*av_dict_set)(ffmpeg::Dictionary**, const char* key, const char* value, int flags);
  void (*av_dict_free)(ffmpeg::Dictionary**);
  int (*av_strerror)(int error, char* to, size_t size);
};

// The names of the fields of FfmpegFunctions.
#define HEADRACE_FFMPEG_FUNCTIONS(EACH) \
  EACH(avcodec_version) EACH(avformat_alloc_context) EACH(avio_alloc_context) EACH(avio_context_free) \
  EACH(av_find_input_format) EACH(avformat_open_input) EACH(avformat_find_stream_info) \
  EACH(avformat_close_input) EACH(av_read_frame) EACH(av_seek_frame) EACH(avformat_index_get_entries_count) \
  EACH(avformat_index_get_entry) EACH(avcodec_find_decoder) EACH(avcodec_find_decoder_by_name) \
  EACH(avcodec_get_name) EACH(avcodec_alloc_context3) EACH(avcodec_parameters_alloc) \
  EACH(avcodec_parameters_free) EACH(avcodec_parameters_to_context) EACH(avcodec_open2) \
  EACH(avcodec_free_context) EACH(avcodec_send_packet) EACH(avcodec_receive_frame) EACH(av_packet_alloc) \
  EACH(av_packet_free) EACH(av_packet_unref) EACH(av_packet_ref) EACH(av_packet_free_side_data) \
  EACH(av_packet_get_side_data) EACH(av_packet_new_side_data) EACH(av_malloc) EACH(av_free) EACH(av_frame_alloc) \
  EACH(av_frame_free) EACH(av_dict_set) EACH(av_dict_free) EACH(av_strerror)

// Set each function to the address that `address_of` gives for its name.
template <typename AddressOf>
void set_functions(FfmpegFunctions* functions, AddressOf address_of) {
  const auto set = [&](auto*& to, const char* name) {
    to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(address_of(name));
  };
#define SET(name) set(functions->name, #name);
  HEADRACE_FFMPEG_FUNCTIONS(SET)
#undef SET
}

// How FFmpeg opens recordings of one format.
struct FfmpegFormat {
  const FfmpegFunctions* library = nullptr;  // null if it is not to be called
  std::string demuxer;     // FFmpeg's short name, as "mov"
  std::string codec;       // FFmpeg's name; "" for any
  bool byte_seek = false;  // whether to seek by offsets: else by time stamps
};

}  // namespace headrace
