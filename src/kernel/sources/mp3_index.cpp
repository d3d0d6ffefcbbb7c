#include "sources/mp3_index.h"

#include <algorithm>
#include <cstring>

#include "sources/packing.h"

namespace headrace {
namespace {

// By layer (III, II, I) and by the header's index; the first of MPEG-1, then those of MPEG-2 and MPEG-2.5.
constexpr int KBPS_MPEG1[3][15] = {
    {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
    {0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384},
    {0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448}};
constexpr int KBPS_MPEG2[3][15] = {
    {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
    {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
    {0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256}};
constexpr int HZ[3] = {44100, 48000, 32000};  // MPEG-1; half of it in MPEG-2, a quarter in MPEG-2.5

// What is known of libmpg123; tests/kernel/test_mp3_canary.py checks it.
constexpr int64_t DECODER_DELAY = 529;  // samples that it drops at the start beside the encoder's delay

constexpr int64_t BLOCK = 1 << 18;        // bytes read at a time
constexpr int64_t FIRST_BLOCK = 1 << 13;  // and at first, as most files begin with a frame or are no MP3
constexpr int64_t LARGEST = 2881;         // bytes of the largest frame: layer II, 160 kbit/s at 8 kHz

// How far the first frame is searched for behind what is neither a tag nor zeros. A guess: more than what
// broken downloads and recorders were seen to put there.
constexpr int64_t FARTHEST_START = 1 << 17;
constexpr int64_t MOST_ZEROS = 1 << 24;    // bytes: how many zeros may stand before it
constexpr int64_t LONGEST_TAIL = 1 << 16;  // bytes after the last frame: ample for what taggers write

// How many frames have to follow each other before they are believed, where a header may stand by chance.
// Noise begins like a frame of a known stream once in 2^18 bytes.
constexpr int CHAIN_AT_START = 2, CHAIN_IN_GARBAGE = 4, CHAIN_IN_STREAM = 2, CHAIN_OF_FOREIGN = 3;

// The most breaks of an index: of a file that has more, the container is another one than MP3.
constexpr int64_t FREE_BREAKS = 1024, FRAMES_A_BREAK = 32;

constexpr unsigned char VERSION = 2;             // of the packed form
constexpr unsigned char VERSION_FROM_START = 3;  // the same without random access
constexpr unsigned char VERSION_CONTIGUOUS = 1;  // of earlier versions: neither `samples` nor breaks

// Bytes of a frame without padding. `bitrate` is the header's index of it; `low` says MPEG-2 or 2.5.
int frame_bytes(int layer, bool low, int bitrate, int sample_rate) {
  const int kbps = (low ? KBPS_MPEG2 : KBPS_MPEG1)[3 - layer][bitrate];
  if (layer == 1) return 12 * 1000 * kbps / sample_rate * 4;
  return (low && layer == 3 ? 72 : 144) * 1000 * kbps / sample_rate;
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
// Writes in frame->used how many bytes of audio data the side information asks for.
bool side_is_valid(const unsigned char* side, Mp3Frame* of) {
  const Mp3Frame& frame = *of;
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
  of->used = frame.reservoir + frame.data_bytes - static_cast<int>(left / 8);
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

// Reads a file a block at a time.
class BlockReader {
 public:
  BlockReader(const Bytes& file, int64_t first_block) : file_(file), size_(file.size()), ahead_(first_block) {}
  int64_t size() const { return size_; }
  // Return the `count` bytes at `offset`, or null if the file ends before or cannot be read.
  const unsigned char* at(int64_t offset, int64_t count) {
    if (offset < 0 || offset + count > size_) return nullptr;
    if (offset < begin_ || offset + count > begin_ + static_cast<int64_t>(block_.size())) {
      // A search looks ahead and comes back: keep what stands close before.
      const int64_t begin = std::max(std::min(begin_, offset), offset - KEPT);
      block_.resize(static_cast<size_t>(std::min(offset - begin + std::max(count, ahead_), size_ - begin)));
      ahead_ = BLOCK;
      begin_ = begin;
      const auto wanted = static_cast<int64_t>(block_.size());
      if (file_.read(begin_, block_.data(), wanted) != wanted) {
        block_.clear();
        failed_ = true;
        return nullptr;
      }
    }
    return block_.data() + (offset - begin_);
  }
  // Return how many of the bytes from `offset` on can be had without reading again; at least 1 before the end.
  int64_t available(int64_t offset) {
    if (!at(offset, 1)) return 0;
    return begin_ + static_cast<int64_t>(block_.size()) - offset;
  }
  bool starts_with(int64_t offset, const char* text) {
    const auto length = static_cast<int64_t>(std::strlen(text));
    const unsigned char* p = at(offset, length);
    return p && std::memcmp(p, text, static_cast<size_t>(length)) == 0;
  }
  bool failed() const { return failed_; }

 private:
  static constexpr int64_t KEPT = 1 << 14;

  const Bytes& file_;
  int64_t size_, ahead_, begin_ = 0;
  std::vector<unsigned char> block_;
  bool failed_ = false;
};

// Finds tags and frames in a file, wherever they are.
class Finder {
 public:
  explicit Finder(const Bytes& file) : reader_(file, FIRST_BLOCK), tail_(file, 512), end_(file.size()) {}

  // The end of what may be audio: the end of the file, or the start of the tags at its end.
  int64_t end() const { return end_; }
  BlockReader& reader() { return reader_; }

  // Move end() before the tags at the end of the file.
  void leave_out_trailing_tags() {
    for (int64_t before = -1; before != end_;) {
      before = end_;
      if (tail_.starts_with(end_ - ID3V1, "TAG")) end_ -= ID3V1;
      if (tail_.starts_with(end_ - ID3V1_MORE, "TAG+")) end_ -= ID3V1_MORE;
      if (tail_.starts_with(end_ - APE_HEAD, "APETAGEX")) {
        const unsigned char* p = tail_.at(end_ - APE_HEAD, APE_HEAD);
        const int64_t size = u32_little(p + 12) + (p[23] & 128 ? APE_HEAD : 0);
        if (size >= APE_HEAD && size <= end_) end_ -= size;
      }
      if (tail_.starts_with(end_ - 9, "LYRICS200")) {
        const unsigned char* p = tail_.at(end_ - 15, 6);
        int64_t size = 0;
        for (int i = 0; p && i < 6; ++i) size = 10 * size + (p[i] - '0');
        if (p && size > 0 && tail_.starts_with(end_ - 15 - size, "LYRICSBEGIN")) end_ -= 15 + size;
      } else if (tail_.starts_with(end_ - 9, "LYRICSEND")) {
        const int64_t from = std::max<int64_t>(0, end_ - LONGEST_LYRICS);
        const unsigned char* p = tail_.at(from, end_ - from);
        const std::string text(p ? reinterpret_cast<const char*>(p) : "",
                               p ? static_cast<size_t>(end_ - from) : 0);
        const size_t at = text.rfind("LYRICSBEGIN");
        if (at != std::string::npos) end_ = from + static_cast<int64_t>(at);
      }
      if (tail_.starts_with(end_ - ID3V2_HEAD, "3DI")) {
        const int64_t size = id3v2_bytes(&tail_, end_ - ID3V2_HEAD);
        if (size > 0 && size <= end_ && tail_.starts_with(end_ - size, "ID3")) end_ -= size;
      }
    }
  }

  // Return the size of the tag at `offset`; 0 if none begins there.
  int64_t tag_bytes(int64_t offset) {
    int64_t size = 0;
    if (reader_.starts_with(offset, "ID3")) {
      size = id3v2_bytes(&reader_, offset);
    } else if (reader_.starts_with(offset, "APETAGEX")) {
      const unsigned char* p = reader_.at(offset, APE_HEAD);
      if (p) size = APE_HEAD + (p[23] & 32 ? u32_little(p + 12) : 0);
    } else if (reader_.starts_with(offset, "TAG+")) {
      size = ID3V1_MORE;
    } else if (reader_.starts_with(offset, "TAG")) {
      size = ID3V1;
    }
    return offset + size <= end_ ? size : 0;
  }

  // Read the header at `offset`. Return false if none is there before end().
  bool header_at(int64_t offset, Mp3Frame* frame) {
    const unsigned char* p = reader_.at(offset, MP3_HEAD_BYTES);
    if (p && offset + MP3_HEAD_BYTES <= end_) return read_mp3_frame(p, frame);
    unsigned char padded[MP3_HEAD_BYTES] = {};  // the smallest frames are smaller
    const int64_t some = std::min<int64_t>(MP3_HEAD_BYTES, end_ - offset);
    p = some >= 4 ? reader_.at(offset, some) : nullptr;
    if (!p) return false;
    std::memcpy(padded, p, static_cast<size_t>(some));
    return read_mp3_frame(padded, frame);
  }

  // Return whether at least `count` frames of one stream follow each other from `offset` on, or fewer that
  // reach up to the end or to a tag. The first of them has valid side information, and fits `like`.
  bool chain_at(int64_t offset, int count, const Mp3Frame* like, Mp3Frame* first) {
    Mp3Frame frame{};
    if (!header_at(offset, first) || !first->valid_side) return false;
    if (like && !same_stream(*like, *first)) return false;
    frame = *first;
    for (int n = 1;; ++n) {
      offset += frame.bytes;
      if (offset > end_) return n > 1;  // the last of several may be cut
      if (n >= count || offset == end_ || tag_bytes(offset) > 0) return true;
      if (!header_at(offset, &frame)) return false;
      if (!same_stream(*first, frame)) return false;
    }
  }

  // Return the offset of the next frame or tag from `offset` on and before `limit`, else `limit`. `like` says
  // of which stream frames may be; a longer chain of frames of another stream counts too.
  int64_t search(int64_t offset, int64_t limit, const Mp3Frame* like, int chain) {
    Mp3Frame frame{};
    while (offset < limit) {
      const int64_t some = std::min(reader_.available(offset), limit - offset);
      if (some <= 0) return limit;
      const unsigned char* p = reader_.at(offset, some);
      int64_t i = 0;
      while (i < some && p[i] != 0xFF && p[i] != 'I') ++i;
      offset += i;
      if (i == some) continue;
      if (p[i] == 'I') {
        const int64_t tag = tag_bytes(offset);
        if (tag > 0 && (chain_at(offset + tag, 1, nullptr, &frame) || tag_bytes(offset + tag) > 0)) return offset;
      } else if (chain_at(offset, chain, like, &frame)) {
        return offset;
      } else if (like && chain_at(offset, CHAIN_OF_FOREIGN, nullptr, &frame)) {
        return offset;
      }
      ++offset;
    }
    return limit;
  }

  // Return the first offset from `offset` on where no zero stands, or `limit`.
  int64_t after_zeros(int64_t offset, int64_t limit) {
    while (offset < limit) {
      const int64_t some = std::min(reader_.available(offset), limit - offset);
      if (some <= 0) return limit;
      const unsigned char* p = reader_.at(offset, some);
      const unsigned char* other = std::find_if(p, p + some, [](unsigned char byte) { return byte != 0; });
      offset += other - p;
      if (other != p + some) break;
    }
    return offset;
  }

 private:
  static constexpr int64_t ID3V1 = 128, ID3V1_MORE = 227, ID3V2_HEAD = 10, APE_HEAD = 32;
  static constexpr int64_t LONGEST_LYRICS = 5200;  // of Lyrics3 version 1

  static uint32_t u32_little(const unsigned char* p) {
    return uint32_t{p[3]} << 24 | uint32_t{p[2]} << 16 | uint32_t{p[1]} << 8 | p[0];
  }
  static int64_t id3v2_bytes(BlockReader* reader, int64_t offset) {
    const unsigned char* p = reader->at(offset, ID3V2_HEAD);
    if (!p || p[3] == 0xFF || p[4] == 0xFF || (p[6] | p[7] | p[8] | p[9]) & 128) return 0;
    return ID3V2_HEAD + (int64_t{p[6]} << 21 | p[7] << 14 | p[8] << 7 | p[9]) + (p[5] & 16 ? ID3V2_HEAD : 0);
  }

  BlockReader reader_, tail_;
  int64_t end_;
};

// What is known from the start of a file: from the tags and the first frame.
struct Start {
  int64_t offset = 0;  // of the first frame of audio
  Mp3Frame like{};     // the first frame: all others have its layer, rate, length and channels
  Tag tag;
  int64_t skip() const { return tag.frames > 0 ? tag.delay + DECODER_DELAY : 0; }
};

// Whether another container than MP3 begins at `offset`. It may hold frames of MP3, but not only these.
bool other_container(BlockReader* reader, int64_t offset) {
  for (const char* mark : {"RIFF", "RIFX", "RF64", "BW64", "FORM", "OggS", "fLaC", "caff", "riff", "FLV",
                           "\x1A\x45\xDF\xA3", "\x30\x26\xB2\x75", ".snd", "wvpk", "MAC ", ".RMF", "#!AMR"})
    if (reader->starts_with(offset, mark)) return true;
  for (const char* atom : {"ftyp", "moov", "mdat", "wide", "free", "skip"})
    if (reader->starts_with(offset + 4, atom)) return true;
  const unsigned char* p = reader->at(offset, 4);
  if (p && u32(p) == 0x000001BA) return true;                                               // MPEG-PS
  return reader->starts_with(offset, "\x47") && reader->starts_with(offset + 188, "\x47");  // MPEG-TS
}

bool find_start(Finder* finder, Start* start) {
  BlockReader& reader = finder->reader();
  int64_t& offset = start->offset;
  if (other_container(&reader, 0)) return false;
  for (int64_t before = -1; before != offset;) {
    before = offset;
    offset += finder->tag_bytes(offset);
    offset = finder->after_zeros(offset, std::min(finder->end(), offset + MOST_ZEROS));
  }
  if (!finder->chain_at(offset, CHAIN_AT_START, nullptr, &start->like)) {
    if (other_container(&reader, offset)) return false;
    const int64_t limit = std::min(finder->end(), offset + FARTHEST_START);
    for (;; ++offset) {
      offset = finder->search(offset, limit, nullptr, CHAIN_IN_GARBAGE);
      if (offset == limit) return false;
      const int64_t tag = finder->tag_bytes(offset);
      if (finder->chain_at(offset + tag, tag ? CHAIN_AT_START : CHAIN_IN_GARBAGE, nullptr, &start->like)) {
        offset += tag;
        break;
      }
    }
  }
  const unsigned char* p = reader.at(offset, start->like.bytes);
  if (!p || !read_tag(p, start->like, &start->tag)) return true;
  offset += start->like.bytes;
  Mp3Frame frame{};
  if (finder->chain_at(offset, CHAIN_OF_FOREIGN, nullptr, &frame)) start->like = frame;
  return true;
}

// Walks over a file from its first frame to its end. A frame is added to the index when it is known what
// follows it: where another frame begins inside it, it is a cut one.
class Walk {
 public:
  Walk(Finder* finder, const Start& start, Mp3Scan* scan)
      : finder_(*finder), like_(start.like), scan_(*scan), offset_(start.offset), skip_(start.skip()), declared_(start.tag.frames) {}

  // Return false if the file cannot be read, or has more breaks than an MP3 file has.
  bool run() {
    Mp3Frame frame{};
    while (offset_ < finder_.end()) {
      const bool header = finder_.header_at(offset_, &frame) && same_stream(like_, frame);
      if (header && offset_ + frame.bytes <= finder_.end()) {
        add_pending();
        if (garbage_ > LARGEST) note_damage(garbage_, 0);
        // The frame before the garbage may be damaged, and libmpg123 may give it up (mp3_source.h).
        if (garbage_ > 0) scan_.index.random_access = false;
        garbage_ = 0;
        pending_ = frame;
        pending_lost_ = lost_;
        lost_ = false;
        pending_at_ = offset_;
        offset_ += frame.bytes;
        in_foreign_ = false;
      } else {
        step_over(header);
      }
      const auto breaks = static_cast<int64_t>(scan_.index.breaks.size());
      if (breaks > FREE_BREAKS + scan_.index.frames / FRAMES_A_BREAK) return false;
    }
    add_pending();
    if (garbage_ - zeros_ > LONGEST_TAIL) note_damage(garbage_, 0);
    return !finder_.reader().failed();
  }

 private:
  // The recording's sample at which the next frame begins.
  int64_t sample() const { return std::max<int64_t>(0, scan_.index.frames * like_.samples - skip_); }

  void note_damage(int64_t bytes, int64_t frames) {
    if (!scan_.damaged_bytes && !scan_.damaged_frames) scan_.damaged_at = sample();
    scan_.damaged_bytes += bytes;
    scan_.damaged_frames += frames;
  }

  void add_pending() {
    if (pending_at_ < 0) return;
    Mp3Index& index = scan_.index;
    const int64_t gap = index.frames ? pending_at_ - index.end : 0;
    // What stood in lost frames is not replaced by what stands before them: that would be noise.
    if (pending_lost_) reservoir_ = 0;
    const bool silence = !pending_.valid_side || pending_.reservoir > reservoir_;
    if (gap || silence) index.breaks.push_back({index.frames, gap, silence ? reservoir_ : -1});
    if (!pending_.valid_side) note_damage(0, 1);
    // In these cases the frame's audio data may be another frame's: those of a damaged one, what stands before a
    // tag or the end that an encoder's tag declares, or what the frame before uses itself.
    const bool joined = (gap && !pending_lost_) || index.frames == declared_ || pending_.reservoir > unused_;
    if (!pending_.valid_side || (joined && !silence && pending_.reservoir > 0)) index.random_access = false;
    unused_ = silence ? reservoir_ + pending_.data_bytes
                      : pending_.reservoir + pending_.data_bytes - pending_.used;
    if (pending_.layer == 3)
      reservoir_ = std::min<int64_t>((silence ? reservoir_ : pending_.reservoir) + pending_.data_bytes,
                                     like_.samples == 576 ? 255 : MP3_RESERVOIR_BYTES);
    if (index.frames % Mp3Index::EVERY == 0) index.points.push_back(pending_at_);
    ++index.frames;
    index.end = pending_at_ + pending_.bytes;
    pending_at_ = -1;
  }

  // Move offset_ over what is no whole frame of the stream. `cut` says that one begins there.
  void step_over(bool cut) {
    const int64_t tag = finder_.tag_bytes(offset_);
    Mp3Frame frame{};
    if (!cut && tag) {
      add_pending();
      offset_ += tag;
      return;
    }
    if (!cut && finder_.chain_at(offset_, in_foreign_ ? 1 : CHAIN_OF_FOREIGN, nullptr, &frame)) {
      add_pending();
      if (!scan_.foreign_frames++) {
        scan_.foreign_at = sample();
        scan_.foreign_rate = frame.sample_rate;
        scan_.foreign_channels = frame.channels;
      }
      scan_.foreign_samples += int64_t{frame.samples} * like_.sample_rate / frame.sample_rate;
      offset_ += frame.bytes;
      in_foreign_ = lost_ = true;
      return;
    }
    in_foreign_ = false;
    const int64_t after_zeros = finder_.after_zeros(offset_, finder_.end());
    if (!cut && pending_at_ >= 0 && after_zeros == offset_) {
      const int64_t next = finder_.search(pending_at_ + 4, offset_, &like_, CHAIN_IN_STREAM);
      if (next < offset_) {
        pending_at_ = -1;
        lost_ = true;
        offset_ = next;
        return;
      }
    }
    add_pending();
    const int64_t next = finder_.search(std::max(after_zeros, offset_ + 1), finder_.end(), &like_, CHAIN_IN_STREAM);
    garbage_ += next - offset_;
    lost_ = true;
    zeros_ += after_zeros - offset_;
    offset_ = next;
  }

  Finder& finder_;
  const Mp3Frame like_;
  Mp3Scan& scan_;
  int64_t offset_;
  const int64_t skip_, declared_;
  Mp3Frame pending_{};        // the last frame that was found
  int64_t pending_at_ = -1;   // its offset; -1 if there is none
  bool pending_lost_ = false;  // whether frames before it are lost
  bool lost_ = false;          // whether frames behind it are lost
  int64_t unused_ = 0;        // bytes of audio data behind those that the last frame uses
  int64_t reservoir_ = 0;     // bytes of audio data before it that it may refer to
  int64_t garbage_ = 0;       // bytes since the last frame that are no tags
  int64_t zeros_ = 0;         // zeros among all of these
  bool in_foreign_ = false;   // whether the last frame was of another stream
};

constexpr int64_t MOST_BYTES = int64_t{1} << 36;  // of a file: mp3_source.cpp can present no larger ones

}  // namespace

bool read_mp3_frame(const unsigned char* head, Mp3Frame* frame) {
  if (head[0] != 0xFF || (head[1] & 0xE0) != 0xE0) return false;
  const int version = head[1] >> 3 & 3, layer = 4 - (head[1] >> 1 & 3);
  const int rate = head[2] >> 2 & 3, kbps = head[2] >> 4;
  if (version == 1 || layer == 4 || rate == 3 || kbps == 0 || kbps == 15) return false;
  const bool low = version != 3;
  frame->layer = layer;
  frame->sample_rate = HZ[rate] >> (version == 3 ? 0 : version == 2 ? 1 : 2);
  frame->samples = layer == 1 ? 384 : layer == 3 && low ? 576 : 1152;
  frame->channels = head[3] >> 6 == 3 ? 1 : 2;
  frame->checksum_bytes = head[1] & 1 ? 0 : 2;
  frame->side_bytes = layer != 3 ? 0 : low ? (frame->channels == 1 ? 9 : 17) : (frame->channels == 1 ? 17 : 32);
  frame->bytes = frame_bytes(layer, low, kbps, frame->sample_rate) +
                 (head[2] >> 1 & 1) * (layer == 1 ? 4 : 1);
  frame->data_bytes = frame->bytes - 4 - frame->checksum_bytes - frame->side_bytes;
  std::memcpy(frame->header, head, 4);
  frame->reservoir = frame->used = 0;
  frame->valid_side = true;
  if (layer == 3) {
    const unsigned char* side = head + 4 + frame->checksum_bytes;
    frame->reservoir = low ? side[0] : side[0] << 1 | side[1] >> 7;
    frame->valid_side = side_is_valid(side, frame);
  }
  // At least one byte of audio data in each frame bounds how many frames a reservoir can span.
  return frame->data_bytes > 0;
}

bool same_stream(const Mp3Frame& a, const Mp3Frame& b) {
  return a.layer == b.layer && a.sample_rate == b.sample_rate && a.samples == b.samples &&
         a.channels == b.channels;
}

bool scan_mp3(const Bytes& bytes, Mp3Scan* scan) {
  *scan = Mp3Scan();
  if (bytes.size() > MOST_BYTES) return false;
  Finder finder(bytes);
  Start start;
  if (!find_start(&finder, &start)) return false;
  finder.leave_out_trailing_tags();
  Mp3Index& index = scan->index;
  index.file_bytes = bytes.size();
  index.samples = start.like.samples;
  index.skip = start.skip();
  if (!Walk(&finder, start, scan).run()) return false;
  scan->layer = start.like.layer;
  scan->sample_rate = start.like.sample_rate;
  scan->channels = start.like.channels;
  scan->declared = std::max<int64_t>(0, start.tag.frames);
  // The padding is at the end of the last frame that the encoder wrote. libmpg123 drops less of it, as its
  // own delay comes first.
  const int64_t padding = start.tag.frames == index.frames ? start.tag.padding - DECODER_DELAY : 0;
  scan->length = std::max<int64_t>(
      0, index.frames * index.samples - index.skip - std::max<int64_t>(0, padding));
  return true;
}

bool start_matches(const Bytes& bytes, const Mp3Index& index) {
  Finder finder(bytes);
  Start start;
  return find_start(&finder, &start) && start.offset == index.points[0] && start.skip() == index.skip;
}

std::string pack(const Mp3Index& index) {
  std::string packed(1, static_cast<char>(index.random_access ? VERSION : VERSION_FROM_START));
  for (const int64_t value :
       {index.file_bytes, index.end, index.frames, index.samples, index.skip, index.points[0]})
    put(&packed, static_cast<uint64_t>(value));
  // Store how distances between points change: at a constant bitrate they hardly do.
  int64_t distance = 0;
  for (size_t i = 1; i < index.points.size(); ++i) {
    put_signed(&packed, index.points[i] - index.points[i - 1] - distance);
    distance = index.points[i] - index.points[i - 1];
  }
  put(&packed, index.breaks.size());
  int64_t frame = 0;
  for (const Mp3Break& one : index.breaks) {
    put(&packed, static_cast<uint64_t>(one.frame - frame));
    put(&packed, static_cast<uint64_t>(one.gap));
    put(&packed, static_cast<uint64_t>(one.silence + 1));
    frame = one.frame;
  }
  return packed + checksum(packed.data(), packed.size());
}

bool unpack(const char* packed, size_t size, Mp3Index* index) {
  if (size < 5) return false;
  const auto version = static_cast<unsigned char>(packed[0]);
  if (version < VERSION_CONTIGUOUS || version > VERSION_FROM_START) return false;
  const bool contiguous = version == VERSION_CONTIGUOUS;
  size -= 4;
  if (checksum(packed, size) != std::string(packed + size, 4)) return false;
  Unpacker from(packed + 1, size - 1);
  *index = Mp3Index();
  index->random_access = version != VERSION_FROM_START;
  int64_t offset = 0, distance = 0, change = 0, breaks = 0, frame = 0;
  if (!from.take(MOST_BYTES, &index->file_bytes) || !from.take(index->file_bytes, &index->end) ||
      !from.take(MOST_BYTES, &index->frames) || (!contiguous && !from.take(1152, &index->samples)) ||
      !from.take(1 << 16, &index->skip) || !from.take(index->end, &offset))
    return false;
  const int64_t points = (index->frames + Mp3Index::EVERY - 1) / Mp3Index::EVERY;
  if (index->frames < 1 || points > static_cast<int64_t>(size)) return false;
  index->points.reserve(static_cast<size_t>(points));
  index->points.push_back(offset);
  for (int64_t i = 1; i < points; ++i) {
    if (!from.take_signed(MOST_BYTES, &change)) return false;
    distance += change;
    offset += distance;
    if (distance <= 0 || offset >= index->end) return false;
    index->points.push_back(offset);
  }
  if (contiguous) return from.done();
  if (index->samples != 1152 && index->samples != 576 && index->samples != 384) return false;
  if (!from.take(static_cast<int64_t>(size), &breaks)) return false;
  index->breaks.reserve(static_cast<size_t>(breaks));
  for (int64_t i = 0; i < breaks; ++i) {
    Mp3Break one;
    if (!from.take(MOST_BYTES, &change) || !from.take(index->file_bytes, &one.gap) ||
        !from.take(MP3_RESERVOIR_BYTES + 1, &one.silence))
      return false;
    if (i > 0 && change == 0) return false;
    frame += change;
    if (frame >= index->frames) return false;
    one.frame = frame;
    --one.silence;
    index->breaks.push_back(one);
  }
  return from.done();
}

std::string silent_frame(const Mp3Frame& like, const std::string& reservoir) {
  int kbps = like.header[2] >> 4;
  if (like.layer == 3) {
    // At least 8 zeros before the reservoir, so that nothing in it can look like an encoder's tag.
    const int least = 4 + like.side_bytes + 8 + static_cast<int>(reservoir.size());
    kbps = 1;
    while (kbps < 14 && frame_bytes(3, like.samples == 576, kbps, like.sample_rate) < least) ++kbps;
  }
  const bool low = !(like.header[1] & 8);
  std::string frame(static_cast<size_t>(frame_bytes(like.layer, low, kbps, like.sample_rate)), '\0');
  frame[0] = static_cast<char>(like.header[0]);
  frame[1] = static_cast<char>(like.header[1] | 1);  // no checksum
  frame[2] = static_cast<char>(kbps << 4 | (like.header[2] & 0x0C));
  frame[3] = static_cast<char>(like.header[3] & 0xC0);
  frame.replace(frame.size() - reservoir.size(), reservoir.size(), reservoir);
  return frame;
}

void silence_frame(const Mp3Frame& frame, int64_t reservoir, unsigned char* bytes) {
  unsigned char* side = bytes + 4 + frame.checksum_bytes;
  std::memset(side, 0, static_cast<size_t>(frame.side_bytes));
  if (frame.samples == 576) {
    side[0] = static_cast<unsigned char>(reservoir);
  } else {
    side[0] = static_cast<unsigned char>(reservoir >> 1);
    side[1] = static_cast<unsigned char>(reservoir << 7 & 128);
  }
}

}  // namespace headrace
