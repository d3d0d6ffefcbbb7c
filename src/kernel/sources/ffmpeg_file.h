// FfmpegFile and FfmpegDecoder: the packets of a file's first audio track, and the PCM that they hold.
//
// Guarantees
// - A file is opened as the container that it was taken for, and opens no other file.
// - Nothing is allocated for each packet but by FFmpeg; decoding runs in the calling thread.
// - One thread at a time uses an object.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sources/ffmpeg_library.h"
#include "sources/packet_index.h"
#include "sources/place.h"

namespace headrace {

// Return a file's first audio track, and have its demuxer drop the packets of all others. Null if it has none.
ffmpeg::Stream* select_audio(const ffmpeg::FormatContext* file);

// A packet that frees itself.
class PacketPointer {
 public:
  explicit PacketPointer(const FfmpegFunctions& library);
  ~PacketPointer();
  PacketPointer(PacketPointer&& from) noexcept : library_(from.library_), packet_(from.packet_) {
    from.packet_ = nullptr;
  }
  PacketPointer& operator=(PacketPointer&& from) noexcept {
    std::swap(packet_, from.packet_);
    return *this;
  }
  ffmpeg::Packet* get() const { return packet_; }
  ffmpeg::Packet* operator->() const { return packet_; }

 private:
  const FfmpegFunctions* library_;
  ffmpeg::Packet* packet_;
};

// Bytes that FFmpeg reads through functions of ours.
class FfmpegInput {
 public:
  FfmpegInput(std::unique_ptr<Bytes> bytes, const FfmpegFunctions& library);
  ~FfmpegInput();
  FfmpegInput(const FfmpegInput&) = delete;
  FfmpegInput& operator=(const FfmpegInput&) = delete;

  ffmpeg::IoContext* get() const { return context_; }
  // What the system reported where the bytes could not be read; 0 if they could.
  int system_error() const { return system_error_; }

 private:
  int read(uint8_t* to, int count);
  int64_t seek(int64_t offset, int whence);

  const std::unique_ptr<Bytes> bytes_;
  const FfmpegFunctions& library_;
  ffmpeg::IoContext* context_ = nullptr;
  int64_t at_ = 0;
  int system_error_ = 0;
};

class FfmpegFile {
 public:
  // Throws DecodeError if it cannot be opened, has no audio track, or has another codec than `format` says.
  FfmpegFile(const Place& place, const FfmpegFormat& format);
  ~FfmpegFile();
  FfmpegFile(const FfmpegFile&) = delete;
  FfmpegFile& operator=(const FfmpegFile&) = delete;

  // Read the next packet of the track. Return false at the end of the file, or where reading fails: then
  // `error` says why.
  bool next(ffmpeg::Packet* packet);

  // Where the packet that `next` gave stands; without a check, which takes time.
  const PacketPlace& place() const { return place_; }

  // Whether the time stamp of that packet is where the packet before it ended; true if that cannot be told.
  bool follows() const { return follows_; }

  // Whether `packet`, which `next` gave, is the one at `place`, if as many packets stand before it.
  bool is_at(const PacketPlace& place, const ffmpeg::Packet* packet) const;

  // Make the packet at `place` the one that `next` gives. `number` is how many packets stand before it.
  // Throws CHANGED if there is no such packet.
  void seek(const PacketPlace& place, int64_t number);

  // Begin again with the first packet.
  void rewind();

  const std::string& codec() const { return codec_; }
  const ffmpeg::CodecParameters* parameters() const { return track_->codecpar; }
  // The number that the container gives the track.
  int track_number() const { return track_->id; }
  // FFmpeg's error code where `next` has returned false; 0 at the end of the file.
  int error() const { return error_; }

 private:
  void open();
  int open_input();
  void close();
  bool find(const PacketPlace& place, bool from_start, int64_t number);
  bool follows_last(const ffmpeg::Packet* packet) const;

  const FfmpegFormat& format_;
  const FfmpegFunctions& library_;
  const Place place_of_file_;
  std::string codec_;
  std::unique_ptr<FfmpegInput> input_;  // null if FFmpeg opens the file itself
  ffmpeg::FormatContext* context_ = nullptr;
  ffmpeg::Stream* track_ = nullptr;
  PacketPlace place_;
  PacketPointer found_;    // the packet that a seek has read
  bool has_found_ = false;
  int64_t last_time_ = PacketPlace::NO_TIME, last_duration_ = 0;
  bool follows_ = true;
  int64_t last_offset_ = -1, ordinal_ = 0, read_ = 0;
  int error_ = 0;
};

class FfmpegDecoder {
 public:
  explicit FfmpegDecoder(const FfmpegFile& file, const FfmpegFunctions& library);
  // By FFmpeg's name of the codec, and what its headers say.
  FfmpegDecoder(const char* codec, const std::string& extradata, const FfmpegFunctions& library);
  FfmpegDecoder(const DecoderSettings& settings, const FfmpegFunctions& library);
  ~FfmpegDecoder();
  FfmpegDecoder(const FfmpegDecoder&) = delete;
  FfmpegDecoder& operator=(const FfmpegDecoder&) = delete;

  // Decode a packet, or with null what is left at the end, and append its PCM to `pcm`, float32 with
  // channels interleaved, or drop it if `pcm` is null. Return FFmpeg's error code, or 0.
  // Throws DecodeError if the rate or the channels change.
  int decode(const ffmpeg::Packet* packet, std::vector<float>* pcm);

  // Of what has been decoded; 0 before. Set them to demand them.
  int sample_rate = 0, channels = 0;
  bool scanned = false;       // whether the scan has seen them: then other ones are CHANGED
  int longest = 0;            // frames that a packet has given at most
  int64_t given = 0;          // frames that have been decoded, kept or dropped

 private:
  void open(const ffmpeg::Codec* codec, const ffmpeg::CodecParameters* parameters);
  void open_with(const ffmpeg::Codec* codec, ffmpeg::CodecParameters* parameters, const std::string& extradata);
  void append(std::vector<float>* pcm);

  const FfmpegFunctions& library_;
  ffmpeg::CodecContext* context_ = nullptr;
  ffmpeg::Frame* frame_ = nullptr;
};

// What a decoder of a track is opened with; none if that is more than settings can say.
std::optional<DecoderSettings> decoder_settings(const ffmpeg::CodecParameters& parameters);

// What a demuxer tells the decoder to drop of a packet; none if it does not. `packet` is 0.
std::optional<DroppedFrames> dropped_frames(const FfmpegFunctions& library, const ffmpeg::Packet& packet);
// Tell the decoder so.
void drop_frames(const FfmpegFunctions& library, const DroppedFrames& dropped, ffmpeg::Packet* packet);

// " (FFmpeg: text)" for FFmpeg's error code, or "" for 0.
std::string ffmpeg_complaint(const FfmpegFunctions& library, int error);

// Throw UNSUPPORTED if the library has another major version than the one that a recording was scanned with.
void check_decoder(const FfmpegFunctions& library, int64_t scanned_major);

// Whether FFmpeg's error code says that the system could not read the file.
bool is_system_error(int error);

}  // namespace headrace
