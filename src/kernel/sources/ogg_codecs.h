// How many frames the packets of Vorbis and Opus hold, by their first bytes: nothing is decoded.
//
// Vorbis I specification (Xiph.Org); RFC 6716 and RFC 7845 for Opus.
//
// Units: frames are PCM frames at the stream's rate.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace headrace {

enum class OggCodec : int { NONE, VORBIS, OPUS, OTHER_AUDIO };

// FFmpeg's name.
const char* name_of(OggCodec codec);

// What the first packet of a logical stream says.
struct OggHead {
  OggCodec codec = OggCodec::NONE;  // NONE if it is no audio
  int sample_rate = 0, channels = 0;
  int64_t pre_skip = 0;        // of Opus: frames that are not part of the recording
  int streams = 1;             // of Opus: in each packet
  int block_sizes[2] = {0, 0};  // of Vorbis
};

// Read the first packet of a logical stream. An identification header that is damaged is that of OTHER_AUDIO.
OggHead read_head(const uint8_t* packet, int64_t size);

// What a packet that follows the headers is.
class OggTiming {
 public:
  static constexpr int64_t NO_AUDIO = -1;  // the packet is skipped: it is no audio, or cannot be decoded

  // Of Opus.
  explicit OggTiming(const OggHead& head) : head_(head) {}

  // Read the third packet of Vorbis. Return false if it cannot be used.
  bool read_setup(const uint8_t* packet, int64_t size);

  // How many frames the next packet gives, or NO_AUDIO. With Vorbis it depends on the packet before.
  int64_t frames(const uint8_t* packet, int64_t size);

  // Forget the packet before: the next one gives nothing, if it is of Vorbis.
  void restart() { previous_ = 0; }

 private:
  OggHead head_;
  std::vector<bool> long_modes_;  // of Vorbis: the block of each mode
  int mode_bits_ = 0;
  int previous_ = 0;  // size of the block before, or 0
};

// What FFmpeg's decoder is given beside the packets. `id` and `setup` are the first and the third packet of Vorbis,
// or the first one of Opus and nothing.
//
// The decoder is not told of Opus' pre-skip: it gives all frames, and the kernel leaves out what is to be left out.
std::string extradata(const OggHead& head, const std::string& id, const std::string& setup);

}  // namespace headrace
