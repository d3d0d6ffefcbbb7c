#include "sources/mp3_index.h"

#include <algorithm>
#include <cstring>

#include "sources/packing.h"

namespace headrace {
namespace {

constexpr int KBPS_MPEG1[15] = {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320};
constexpr int KBPS_MPEG2[15] = {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160};
constexpr int HZ[3] = {44100, 48000, 32000};  // MPEG-1; half of it in MPEG-2, a quarter in MPEG-2.5

// What is known of libmpg123; tests/test_mp3_canary.py checks it.
constexpr int64_t DECODER_DELAY = 529;  // samples that it drops at the start beside the encoder's delay
constexpr int64_t MOST_SKIPPED = 4;     // frames: if it drops more, it does not decode all of them

constexpr int64_t LONGEST_TAG = 1 << 28;   // bytes: the most that an ID3v2 tag can declare
constexpr int64_t LONGEST_TAIL = 1 << 16;  // bytes of tags after the last frame: ample for what taggers write
constexpr int64_t BLOCK = 1 << 18;         // bytes read at a time
constexpr int64_t LARGEST = 1441;          // bytes of the largest frame
constexpr unsigned char VERSION = 1;       // of the packed form

// Bytes of a frame without padding. `bitrate` is the header's index of it; `low` says MPEG-2 or 2.5.
int frame_bytes(bool low, int bitrate, int sample_rate) {
  const int kbps = (low ? KBPS_MPEG2 : KBPS_MPEG1)[bitrate];
  return (low ? 72 : 144) * 1000 * kbps / sample_rate;
}

// Reads bits, the most significant bit of each byte first.
class SideBits {
 public:
  explicit SideBits(const unsigned char* from) : from_(from) {}
  unsigned take(int count) {
    unsigned value = 0;
    for (; count > 0; --count, ++at_) value = value << 1 | (from_[at_ >> 3] >> (7 - (at_ & 7)) & 1);
    return value;
  }
  void skip(int count) { at_ += count; }

 private:
  const unsigned char* from_;
  int at_ = 0;
};

// Return whether libmpg123 accepts a frame's side information. If it does not, it drops the frame without
// advancing its synthesis ring, and adds what follows in another order, so that it is rounded differently.
bool side_is_valid(const unsigned char* side, const Mp3Frame& frame) {
  const bool low = frame.samples == 576;
  SideBits bits(side);
  bits.skip(low ? 8 : 9);
  if (low) bits.skip(frame.channels == 1 ? 1 : 2);
  else bits.skip((frame.channels == 1 ? 5 : 3) + 4 * frame.channels);
  int64_t left = int64_t{8} * (frame.reservoir + frame.data_bytes);
  for (int part = 0; part < frame.channels * (low ? 1 : 2); ++part) {
    left -= bits.take(12);
    if (left < 0 || bits.take(9) > 288) return false;
    bits.skip(8 + (low ? 9 : 4));
    const bool switched = bits.take(1);
    if (switched && bits.take(2) == 0) return false;
    bits.skip((switched ? 20 : 22) + (low ? 2 : 3));
  }
  return true;
}

// The encoder's tag (Xing, Info, LAME), which stands in a frame of its own before the audio.
struct Tag {
  int64_t frames = -1;             // frames of audio; -1 if it does not say
  int64_t delay = 0, padding = 0;  // samples that the encoder added at the start and at the end
};

uint32_t u32(const unsigned char* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | p[3];
}

// Read the tag in the frame at `p`. Return false if there is none that libmpg123 recognises; then it takes
// the frame for audio.
bool read_tag(const unsigned char* p, const Mp3Frame& frame, Tag* tag) {
  const int at = 4 + frame.side_bytes;  // a checksum does not move the tag
  if (frame.bytes < at + 8) return false;
  for (int i = 6; i < at; ++i)
    if (p[i]) return false;
  if (std::memcmp(p + at, "Info", 4) != 0 && std::memcmp(p + at, "Xing", 4) != 0) return false;
  const uint32_t flags = u32(p + at + 4);
  int next = at + 8;
  const auto room = [&](int count) { return next + count <= frame.bytes; };
  if (flags & 1 && room(4)) tag->frames = u32(p + next);
  next += (flags & 1 ? 4 : 0) + (flags & 2 ? 4 : 0) + (flags & 4 ? 100 : 0) + (flags & 8 ? 4 : 0);
  if (room(24) && p[next]) {
    tag->delay = p[next + 21] << 4 | p[next + 22] >> 4;
    tag->padding = (p[next + 22] & 15) << 8 | p[next + 23];
  }
  return true;
}

// Samples that libmpg123 gives of a recording whose tag declares its length.
int64_t declared_samples(const Tag& tag, const Mp3Frame& frame) {
  return tag.frames * frame.samples - tag.delay - std::max(tag.padding, DECODER_DELAY);
}

// Reads a file from its start to its end, a block at a time.
class ForwardReader {
 public:
  explicit ForwardReader(const Bytes& file, int64_t block = BLOCK)
      : file_(file), size_(file.size()), block_bytes_(block) {}
  // Return the `count` bytes at `offset`, or null if the file ends before. Offsets must not decrease.
  const unsigned char* at(int64_t offset, int64_t count) {
    if (offset + count > size_) return nullptr;
    if (offset + count > begin_ + static_cast<int64_t>(block_.size())) {
      block_.resize(static_cast<size_t>(std::min(std::max(count, block_bytes_), size_ - offset)));
      begin_ = offset;
      const int64_t wanted = static_cast<int64_t>(block_.size());
      if (file_.read(offset, block_.data(), wanted) != wanted) {
        block_.clear();
        return nullptr;
      }
    }
    return block_.data() + (offset - begin_);
  }

 private:
  const Bytes& file_;
  int64_t size_, block_bytes_, begin_ = 0;
  std::vector<unsigned char> block_;
};

// What is known from the start of a file: from the tags and the first frame.
struct Start {
  int64_t offset = 0;  // of the first frame of audio
  Mp3Frame like{};     // the first frame: all others have its rate, length and channels
  Tag tag;
  int64_t skip() const { return tag.frames > 0 ? tag.delay + DECODER_DELAY : 0; }
};

bool read_start(ForwardReader* reader, Start* start) {
  const unsigned char* p = reader->at(0, 10);
  if (p && std::memcmp(p, "ID3", 3) == 0) {
    if ((p[6] | p[7] | p[8] | p[9]) & 128) return false;
    start->offset = 10 + (int64_t{p[6]} << 21 | p[7] << 14 | p[8] << 7 | p[9]) + (p[5] & 16 ? 10 : 0);
    if (start->offset > LONGEST_TAG) return false;
  }
  p = reader->at(start->offset, MP3_HEAD_BYTES);
  if (!p || !read_mp3_frame(p, &start->like)) return false;
  p = reader->at(start->offset, start->like.bytes);
  if (p && read_tag(p, start->like, &start->tag)) start->offset += start->like.bytes;
  return p != nullptr;
}

// Return whether the rest of the file from `offset` on is what may follow the last frame: nothing, tags,
// zeros, or part of a frame.
bool audio_ends_at(ForwardReader* reader, int64_t offset, int64_t size) {
  const int64_t left = size - offset;
  if (left > LONGEST_TAIL) return false;
  const unsigned char* p = reader->at(offset, left);
  if (left < 4 || !p) return left < 4;
  for (const char* tag : {"TAG", "APETAGEX", "LYRICSBEGIN", "ID3"}) {
    const auto length = static_cast<int64_t>(std::strlen(tag));
    if (left >= length && std::memcmp(p, tag, static_cast<size_t>(length)) == 0) return true;
  }
  if (std::all_of(p, p + left, [](unsigned char byte) { return byte == 0; })) return true;
  unsigned char head[MP3_HEAD_BYTES] = {};
  std::memcpy(head, p, static_cast<size_t>(std::min<int64_t>(left, MP3_HEAD_BYTES)));
  Mp3Frame frame{};
  return read_mp3_frame(head, &frame) && frame.bytes > left;
}

constexpr int64_t MOST_BYTES = int64_t{1} << 36;  // of a file: mp3_source.cpp can present no larger ones

}  // namespace

bool read_mp3_frame(const unsigned char* head, Mp3Frame* frame) {
  if (head[0] != 0xFF || (head[1] & 0xE0) != 0xE0) return false;
  const int version = head[1] >> 3 & 3, layer = head[1] >> 1 & 3;
  const int rate = head[2] >> 2 & 3, kbps = head[2] >> 4;
  if (version == 1 || layer != 1 || rate == 3 || kbps == 0 || kbps == 15) return false;
  const bool low = version != 3;
  const int checksum = head[1] & 1 ? 0 : 2;
  frame->sample_rate = HZ[rate] >> (version == 3 ? 0 : version == 2 ? 1 : 2);
  frame->samples = low ? 576 : 1152;
  frame->channels = head[3] >> 6 == 3 ? 1 : 2;
  frame->side_bytes = low ? (frame->channels == 1 ? 9 : 17) : (frame->channels == 1 ? 17 : 32);
  frame->bytes =
      frame_bytes(low, kbps, frame->sample_rate) + (head[2] >> 1 & 1);
  frame->data_bytes = frame->bytes - 4 - checksum - frame->side_bytes;
  const unsigned char* side = head + 4 + checksum;
  frame->reservoir = low ? side[0] : side[0] << 1 | side[1] >> 7;
  std::memcpy(frame->header, head, 4);
  // At least one byte of audio data in each frame bounds how many frames a reservoir can span.
  return frame->data_bytes > 0 && side_is_valid(side, *frame);
}

bool same_stream(const Mp3Frame& a, const Mp3Frame& b) {
  return a.sample_rate == b.sample_rate && a.samples == b.samples && a.channels == b.channels;
}

bool index_mp3(const Bytes& bytes, int64_t declared, Mp3Index* index) {
  ForwardReader reader(bytes);
  *index = Mp3Index();
  index->file_bytes = bytes.size();
  if (index->file_bytes > MOST_BYTES) return false;
  Start start;
  if (!read_start(&reader, &start)) return false;
  const unsigned char* p = nullptr;
  int64_t offset = start.offset;
  Mp3Frame frame{};
  int64_t reservoir = 0;  // bytes of audio data before the frame that it may refer to
  for (;; offset += frame.bytes) {
    p = reader.at(offset, MP3_HEAD_BYTES);
    if (!p) {  // near the end: the smallest frames are smaller than MP3_HEAD_BYTES
      unsigned char padded[MP3_HEAD_BYTES] = {};
      const int64_t some = std::min<int64_t>(MP3_HEAD_BYTES, index->file_bytes - offset);
      p = some > 3 ? reader.at(offset, some) : nullptr;
      if (!p) break;
      std::memcpy(padded, p, static_cast<size_t>(some));
      if (!read_mp3_frame(padded, &frame)) break;
    } else if (!read_mp3_frame(p, &frame)) {
      break;
    }
    p = reader.at(offset, frame.bytes);
    if (!p) break;
    Tag another;
    if (read_tag(p, frame, &another) || !same_stream(start.like, frame))
      return false;  // a second recording follows the first
    if (frame.reservoir > reservoir) return false;
    reservoir = frame.reservoir + frame.data_bytes;
    if (index->frames % Mp3Index::EVERY == 0) index->points.push_back(offset);
    ++index->frames;
  }
  index->end = offset;
  if (index->frames < Mp3Index::EVERY || !audio_ends_at(&reader, offset, index->file_bytes)) return false;
  index->skip = start.skip();
  return start.tag.frames <= 0 || (declared_samples(start.tag, start.like) == declared &&
                                   index->skip <= MOST_SKIPPED * start.like.samples);
}

bool start_matches(const Bytes& bytes, const Mp3Index& index, int64_t frames) {
  ForwardReader reader(bytes, 4 * LARGEST);
  Start start;
  return read_start(&reader, &start) && start.offset == index.points[0] &&
         start.skip() == index.skip &&
         (start.tag.frames <= 0 || declared_samples(start.tag, start.like) >= frames);
}

std::string pack(const Mp3Index& index) {
  std::string packed(1, static_cast<char>(VERSION));
  for (const int64_t value : {index.file_bytes, index.end, index.frames, index.skip, index.points[0]})
    put(&packed, static_cast<uint64_t>(value));
  // Store how distances between points change: at a constant bitrate they hardly do.
  int64_t distance = 0;
  for (size_t i = 1; i < index.points.size(); ++i) {
    put_signed(&packed, index.points[i] - index.points[i - 1] - distance);
    distance = index.points[i] - index.points[i - 1];
  }
  return packed + checksum(packed.data(), packed.size());
}

bool unpack(const char* packed, size_t size, Mp3Index* index) {
  if (size < 5 || static_cast<unsigned char>(packed[0]) != VERSION) return false;
  size -= 4;
  if (checksum(packed, size) != std::string(packed + size, 4)) return false;
  Unpacker from(packed + 1, size - 1);
  int64_t offset = 0, distance = 0, change = 0;
  if (!from.take(MOST_BYTES, &index->file_bytes) || !from.take(index->file_bytes, &index->end) ||
      !from.take(MOST_BYTES, &index->frames) || !from.take(1 << 16, &index->skip) ||
      !from.take(index->end, &offset))
    return false;
  const int64_t points = (index->frames + Mp3Index::EVERY - 1) / Mp3Index::EVERY;
  if (index->frames < Mp3Index::EVERY || points > static_cast<int64_t>(size)) return false;
  index->points.assign(1, offset);
  for (int64_t i = 1; i < points; ++i) {
    if (!from.take_signed(MOST_BYTES, &change)) return false;
    distance += change;
    offset += distance;
    if (distance <= 0 || distance > Mp3Index::EVERY * LARGEST || offset >= index->end) return false;
    index->points.push_back(offset);
  }
  return from.done() && index->end - offset <= Mp3Index::EVERY * LARGEST;
}

std::string silent_frame(const Mp3Frame& like, const std::string& reservoir) {
  const bool low = like.samples == 576;
  // At least 8 zeros before the reservoir, so that nothing in it can look like an encoder's tag.
  const int least = 4 + like.side_bytes + 8 + static_cast<int>(reservoir.size());
  int kbps = 1;
  while (kbps < 14 && frame_bytes(low, kbps, like.sample_rate) < least)
    ++kbps;
  std::string frame(
      static_cast<size_t>(frame_bytes(low, kbps, like.sample_rate)), '\0');
  frame[0] = static_cast<char>(like.header[0]);
  frame[1] = static_cast<char>(like.header[1] | 1);  // no checksum
  frame[2] = static_cast<char>(kbps << 4 | (like.header[2] & 0x0C));
  frame[3] = static_cast<char>(like.header[3] & 0xC0);
  frame.replace(frame.size() - reservoir.size(), reservoir.size(), reservoir);
  return frame;
}

}  // namespace headrace
