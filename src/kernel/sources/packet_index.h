// PacketIndex: where decoding of a recording that FFmpeg reads may begin: at its anchors.
//
// A recording is cut into segments of whole packets. The first begins with the first packet. Each later one has
// an anchor: the place in the file of the packet that stands `pre_roll` packets before the segment's first one.
// A decoder that is new at that place, and whose output is thrown away up to the segment, gives the segment.
//
// If the container has a table of the sizes of all packets, the index says where that is, and where packets do not
// follow each other. So each packet is found without the container's demuxer. So it is if the index says what a reader
// of our own (container_packets.h) has to know.
//
// Guarantees: unpack() accepts only what pack() can give.
//
// Units: `start` and `frames` are PCM frames; `offset` is bytes; `time` is in the time base of the track.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace headrace {

constexpr int64_t MOST_PACKET = 1 << 20;  // bytes of a packet that our own readers of containers give. A guess

// How a packet is recognised after a seek.
struct PacketPlace {
  int64_t offset = 0;   // of the packet, or of the page or block that it stands in
  int64_t ordinal = 0;  // how many packets of the track with the same offset stand before it
  int64_t time = 0;     // its time stamp, or NO_TIME
  uint16_t check = 0;   // a hash of its bytes
  int64_t entry = 0;    // with a ContainerLayout: where the container's table tells of it, or what it stands in
                        // begins; 0: at `offset`

  static constexpr int64_t NO_TIME = INT64_MIN;
};

struct Anchor {
  int64_t start = 0;    // the first frame of the segment
  int64_t packets = 0;  // packets of the segment before this one
  PacketPlace place;    // of the first packet of the pre-roll; with a SizeTable, `check` is of sizes
  int64_t stop = 0;     // where the segment before this one ends; only with a SizeTable or a ContainerLayout
  uint16_t sizes = 0;   // with a ContainerLayout: a hash of the sizes of the segment's packets and its pre-roll's
};

// A packet that does not begin where the one before it ends.
struct PacketJump {
  int64_t packet, offset;  // its number, and its place in the file
};

// Where the sizes of a track's packets stand: 32 bits each, the highest first.
struct SizeTable {
  int64_t place = 0;    // of the first size in the file
  int64_t packets = 0;  // how many there are
  int64_t offset = 0;   // of the first packet
  int64_t stop = 0;     // the end of the last one
  int64_t skip = 0;     // frames that a decode gives before the first one of the recording
  uint16_t check = 0;   // a hash of the sizes of the first segment
  std::string extradata;           // what the decoder has to know
  std::vector<PacketJump> jumps;   // in order

  // The bytes where the sizes of the packets [first, stop) stand.
  std::pair<int64_t, int64_t> sizes(int64_t first, int64_t stop_packet) const {
    return {place + 4 * first, place + 4 * stop_packet};
  }
};

// What a decoder is opened with.
struct DecoderSettings {
  // Fields of FFmpeg's parameters of a codec, in the order that ffmpeg_file.cpp gives them.
  std::array<int64_t, 17> values{};
  std::string extradata;
};

// Frames that the decoder is told to drop from the start and from the end of what a packet gives.
struct DroppedFrames {
  int64_t packet;  // its number
  uint32_t start, end;
};

// What a reader of our own has to know to find the packets of a container.
struct ContainerLayout {
  static constexpr int64_t MOST_DROPPED = 64;  // packets with frames to drop: usually the first and the last. A guess

  DecoderSettings decoder;
  std::vector<int64_t> numbers;  // what they mean depends on the container
  int64_t packets = 0;           // how many there are
  PacketPlace first;             // of the first packet
  int64_t stop = 0;              // where the last one ends
  uint16_t sizes = 0;            // a hash of the sizes of the first segment
  int64_t entries_stop = 0;      // where the container's table ends; 0 if it has none
  std::vector<DroppedFrames> dropped;  // in order
};

struct PacketIndex {
  static constexpr char TAG = 'F';  // the first byte of the packed form

  int64_t decoder_major = 0;  // libavcodec's major version
  int64_t pre_roll = 1;       // packets that a decoder is fed, and whose output is thrown away
  bool forgets = false;       // whether a decoder after its pre-roll gives what one decode in one go gives
  int64_t frames = 0;         // of the recording
  std::vector<Anchor> anchors;
  bool continuous = false;    // whether each packet's time stamp is where the one before it ended
  std::optional<SizeTable> table;
  std::optional<ContainerLayout> layout;  // not with a table

  // The number of the segment that a frame of the recording is in.
  size_t segment_of(int64_t frame) const;

  // The packets [first, stop) of a segment, with its pre-roll; `stop` is -1 if the index does not tell.
  std::pair<int64_t, int64_t> packets_of(size_t segment) const;
};

// Where anchors are placed in recordings of one codec.
struct AnchorRule {
  double spacing_s;   // seconds of audio in a segment, at least
  int64_t pre_roll;   // packets of a pre-roll, at least; from 1 on
  double pre_roll_s;  // seconds of a pre-roll, at least
  bool forgets;       // see PacketIndex
};

// Hash the bytes of a packet.
uint16_t packet_check(const unsigned char* data, int64_t size);

// Hashes sizes, one after the other: FNV-1a, a number at a time.
class SizeHash {
 public:
  void add(int64_t size) { hash_ = (hash_ ^ static_cast<uint64_t>(size)) * 1099511628211u; }
  uint16_t value() const {
    const uint64_t folded = hash_ ^ hash_ >> 32;
    return static_cast<uint16_t>(folded ^ folded >> 16);
  }

 private:
  uint64_t hash_ = 14695981039346656037u;
};

std::string pack(const PacketIndex& index);
bool unpack(const char* packed, size_t size, PacketIndex* index);

}  // namespace headrace
