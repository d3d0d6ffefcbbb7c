#include "sources/ogg_codecs.h"

#include <cstring>

#include "sources/little_endian.h"

namespace headrace {
namespace {

constexpr int OPUS_HZ = 48'000;  // whatever the encoder was given
constexpr int64_t MOST_OPUS_FRAMES = 5760;  // 120 ms
constexpr int MOST_MODES = 64;              // of Vorbis

bool begins(const uint8_t* packet, int64_t size, const char* with, int64_t count) {
  return size >= count && !std::memcmp(packet, with, static_cast<size_t>(count));
}

uint32_t word_at(const uint8_t* from) { return static_cast<uint32_t>(little_endian(from, 4)); }

bool read_vorbis(const uint8_t* packet, int64_t size, OggHead* head) {
  if (size < 30 || word_at(packet + 7) != 0) return false;
  head->channels = packet[11];
  const uint32_t rate = word_at(packet + 12);
  const int shorter = packet[28] & 15, longer = packet[28] >> 4;
  if (!head->channels || !rate || rate > INT32_MAX || shorter < 6 || longer > 13 || shorter > longer ||
      !(packet[29] & 1))
    return false;
  head->sample_rate = static_cast<int>(rate);
  head->block_sizes[0] = 1 << shorter;
  head->block_sizes[1] = 1 << longer;
  return true;
}

bool read_opus(const uint8_t* packet, int64_t size, OggHead* head) {
  if (size < 19 || packet[8] >> 4 != 0) return false;
  head->channels = packet[9];
  head->sample_rate = OPUS_HZ;
  head->pre_skip = packet[10] | packet[11] << 8;
  if (!head->channels) return false;
  if (packet[18] == 0) return head->channels <= 2;
  if (size < 21) return false;
  head->streams = packet[19];
  return head->streams > 0;
}

// Bits from the end of a packet to its start.
class BackwardBits {
 public:
  BackwardBits(const uint8_t* data, int64_t size) : data_(data), left_(8 * size) {}
  int64_t left() const { return left_; }
  uint32_t take(int count) {
    uint32_t value = 0;
    for (; count > 0; --count) {
      --left_;
      value = value << 1 | (data_[left_ >> 3] >> (left_ & 7) & 1);
    }
    return value;
  }

 private:
  const uint8_t* data_;
  int64_t left_;
};

// Take the length of a frame of Opus. RFC 6716, section 3.2.1.
bool take_length(const uint8_t** at, const uint8_t* end, int64_t* length) {
  if (*at == end) return false;
  *length = *(*at)++;
  if (*length < 252) return true;
  if (*at == end) return false;
  *length += 4 * *(*at)++;
  return true;
}

// Read one stream's part of a packet of Opus, and go behind it. Return its frames, or -1 if it is invalid.
// RFC 6716, section 3.2 and appendix B.
int64_t opus_part(const uint8_t** from, const uint8_t* end, bool delimited) {
  constexpr int64_t MOST_LENGTH = 1275;
  const uint8_t* at = *from;
  if (at == end) return -1;
  const int toc = *at++, config = toc >> 3;
  const int64_t frame = config >= 16   ? 120 << (config & 3)
                        : config >= 12 ? 480 << (config & 1)
                        : (config & 3) == 3 ? 2880
                                            : 480 << (config & 3);
  int64_t count = (toc & 3) == 0 ? 1 : 2, padding = 0, length = 0, sum = 0;
  bool variable = (toc & 3) == 2;
  if ((toc & 3) == 3) {
    if (at == end) return -1;
    variable = *at & 128;
    count = *at & 63;
    if (*at++ & 64) {
      int more = 255;
      while (more == 255) {
        if (at == end) return -1;
        more = *at++;
        padding += more == 255 ? 254 : more;
      }
    }
  }
  if (!count || count * frame > MOST_OPUS_FRAMES) return -1;
  // The lengths of all frames but the last one are there; or of one, or of none, if they are all the same.
  const int64_t lengths = variable ? count - 1 : 0;
  for (int64_t i = 0; i < lengths; ++i) {
    if (!take_length(&at, end, &length) || length > MOST_LENGTH) return -1;
    sum += length;
  }
  if (delimited) {
    if (!take_length(&at, end, &length) || length > MOST_LENGTH) return -1;
    sum += variable ? length : length * count;
    if (end - at < sum + padding) return -1;
    *from = at + sum + padding;
    return count * frame;
  }
  const int64_t rest = end - at - padding - sum;
  if (rest < 0) return -1;
  if (variable ? rest > MOST_LENGTH : rest % count || rest / count > MOST_LENGTH) return -1;
  *from = end;
  return count * frame;
}

}  // namespace

const char* name_of(OggCodec codec) {
  return codec == OggCodec::VORBIS ? "vorbis" : codec == OggCodec::OPUS ? "opus" : "another codec";
}

OggHead read_head(const uint8_t* packet, int64_t size) {
  OggHead head;
  if (begins(packet, size, "\x01vorbis", 7))
    head.codec = read_vorbis(packet, size, &head) ? OggCodec::VORBIS : OggCodec::OTHER_AUDIO;
  else if (begins(packet, size, "OpusHead", 8))
    head.codec = read_opus(packet, size, &head) ? OggCodec::OPUS : OggCodec::OTHER_AUDIO;
  else if (begins(packet, size, "\x7f" "FLAC", 5) || begins(packet, size, "fLaC", 4) ||
           begins(packet, size, "Speex   ", 8) || begins(packet, size, "PCM     ", 8) ||
           begins(packet, size, "CELT    ", 8))
    head.codec = OggCodec::OTHER_AUDIO;
  return head;
}

bool OggTiming::read_setup(const uint8_t* packet, int64_t size) {
  if (!begins(packet, size, "\x05vorbis", 7)) return false;
  // The modes stand at the end: how long what stands before them is, only decoding it would tell. There are
  // 41 bits for each mode, their number in 6 bits before them, and a bit that is 1 behind them.
  constexpr int64_t LEAST_BITS = 97;
  BackwardBits bits(packet, size);
  while (bits.left() > LEAST_BITS && !bits.take(1)) {
  }
  std::vector<bool> backward;
  size_t modes = 0;
  while (bits.left() >= LEAST_BITS && backward.size() < MOST_MODES) {
    if (bits.take(8) >= 64 || bits.take(16) || bits.take(16)) break;  // mapping, transform, window
    backward.push_back(bits.take(1));
    BackwardBits number = bits;
    if (number.take(6) + 1 == backward.size()) modes = backward.size();
  }
  if (!modes) return false;
  backward.resize(modes);
  long_modes_.assign(backward.rbegin(), backward.rend());
  mode_bits_ = 0;
  while (1u << mode_bits_ < modes) ++mode_bits_;
  return true;
}

int64_t OggTiming::frames(const uint8_t* packet, int64_t size) {
  if (head_.codec == OggCodec::VORBIS) {
    if (size < 1 || packet[0] & 1) return NO_AUDIO;
    const size_t mode = packet[0] >> 1 & ((1u << mode_bits_) - 1);
    if (mode >= long_modes_.size()) return NO_AUDIO;
    const int block = head_.block_sizes[long_modes_[mode]];
    const int64_t count = previous_ ? (previous_ + block) / 4 : 0;
    previous_ = block;
    return count;
  }
  if (begins(packet, size, "OpusTags", 8) || begins(packet, size, "OpusHead", 8)) return NO_AUDIO;
  const uint8_t* at = packet;
  int64_t count = NO_AUDIO;
  for (int i = 0; i < head_.streams; ++i) {
    const int64_t part = opus_part(&at, packet + size, i + 1 < head_.streams);
    if (part < 0 || (i && part != count)) return NO_AUDIO;
    count = part;
  }
  return count;
}

std::string extradata(const OggHead& head, const std::string& id, const std::string& setup) {
  if (head.codec == OggCodec::OPUS) {
    std::string all = id;
    all[10] = all[11] = 0;
    return all;
  }
  // Number of packets less one, sizes of all but the last one, packets. The comment is not needed.
  const std::string comment = "\x03vorbis";
  std::string all(1, 2);
  for (size_t size : {id.size(), comment.size()}) {
    for (; size >= 255; size -= 255) all.push_back(static_cast<char>(255));
    all.push_back(static_cast<char>(size));
  }
  return all + id + comment + setup;
}

}  // namespace headrace
