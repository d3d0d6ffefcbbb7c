#include "sources/avi_packets.h"

#include <algorithm>
#include <utility>

#include "sources/little_endian.h"

namespace headrace {
namespace {

constexpr int64_t HEAD = 8;                // bytes of a chunk's name and its size
constexpr int64_t MOST_CHUNKS = 1 << 12;   // that are looked at for a header. A guess

constexpr int64_t name_of(const char (&four)[5]) {
  return static_cast<int64_t>(four[0]) | four[1] << 8 | four[2] << 16 | static_cast<int64_t>(four[3]) << 24;
}

int64_t number_at(const uint8_t* from, int count) { return static_cast<int64_t>(little_endian(from, count)); }

struct Chunk {
  int64_t name = 0, size = 0;
  int64_t list = 0;  // the kind of a list, or of a RIFF chunk
};

bool read_chunk(BufferedBytes* bytes, int64_t at, Chunk* chunk) {
  const uint8_t* head = bytes->at(at, HEAD);
  if (!head) return false;
  *chunk = {number_at(head, 4), number_at(head + 4, 4), 0};
  if (chunk->name != name_of("RIFF") && chunk->name != name_of("LIST")) return true;
  head = bytes->at(at + HEAD, 4);
  if (!head) return false;
  chunk->list = number_at(head, 4);
  return true;
}

// Where the chunk behind this one begins: an odd size is padded.
int64_t behind(int64_t at, const Chunk& chunk) { return at + HEAD + chunk.size + (chunk.size & 1); }

// How many bytes a packet of a stream has at most, as FFmpeg's demuxer gives them; 0 if each chunk is one. None if the
// header does not tell.
std::optional<int64_t> most_of_packet(BufferedBytes* bytes, int64_t stream) {
  Chunk chunk;
  int64_t at = 0, number = -1, sample = 0;
  for (int64_t i = 0; i < MOST_CHUNKS && read_chunk(bytes, at, &chunk) && chunk.list != name_of("movi"); ++i) {
    if (chunk.name == name_of("strh")) {
      const uint8_t* field = bytes->at(at + HEAD + 44, 4);  // dwSampleSize
      if (!field) return std::nullopt;
      ++number;
      sample = number_at(field, 4);
    } else if (chunk.name == name_of("strf") && number == stream) {
      const uint8_t* field = bytes->at(at + HEAD + 12, 2);  // nBlockAlign
      if (!field) return std::nullopt;
      const int64_t block = number_at(field, 2);
      if (sample && block) sample = block;
      return sample <= 1 ? 0 : sample < 32 ? 1024 * sample : sample;
    }
    const bool enters = chunk.list == name_of("AVI ") || chunk.list == name_of("hdrl") || chunk.list == name_of("strl");
    at = enters ? at + HEAD + 4 : behind(at, chunk);
  }
  return std::nullopt;
}

}  // namespace

void AviPackets::seek(const PacketPlace& place) {
  at_ = stop_ = 0;
  next_ = place.entry;
  if (place.entry && next_chunk() && at_ < place.offset) at_ = std::min(place.offset, stop_);
}

bool AviPackets::next(ContainerPacket* packet) {
  while (at_ == stop_)
    if (!next_chunk()) return false;
  const int64_t size = most_ ? std::min(most_, stop_ - at_) : stop_ - at_;
  *packet = {size <= MOST_PACKET ? bytes_.at(at_, size) : nullptr, size, {at_, 0, PacketPlace::NO_TIME, 0, chunk_},
             at_ + size};
  at_ += size;
  return packet->data != nullptr;
}

// Enter a list, or go to what is in a chunk of the stream, or past another one. Return false where there is none.
bool AviPackets::next_chunk() {
  Chunk chunk;
  if (!read_chunk(&bytes_, next_, &chunk)) return false;
  chunk_ = next_;
  at_ = stop_ = 0;
  if (chunk.list == name_of("AVI ") || chunk.list == name_of("AVIX") || chunk.list == name_of("movi") ||
      chunk.list == name_of("rec ")) {
    next_ += HEAD + 4;
    return true;
  }
  next_ = behind(next_, chunk);
  if (chunk.name != name_) return true;
  at_ = chunk_ + HEAD;
  stop_ = at_ + chunk.size;
  return true;
}

std::optional<ContainerLayout> begin_avi(std::shared_ptr<const Bytes> bytes, const PacketPlace& first) {
  BufferedBytes head(bytes);
  const uint8_t* four = head.at(first.offset - HEAD, 4);  // "01wb" of the second stream
  if (!four || four[0] < '0' || four[0] > '9' || four[1] < '0' || four[1] > '9') return std::nullopt;
  const int64_t name = number_at(four, 4), stream = 10 * (four[0] - '0') + four[1] - '0';
  const auto most = most_of_packet(&head, stream);
  if (!most) return std::nullopt;
  ContainerLayout layout;
  layout.numbers = {name, *most};
  layout.first = first;
  layout.first.entry = first.offset - HEAD;
  return layout;
}

}  // namespace headrace
