#include "sources/mp4_table.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sources/decode_error.h"

namespace headrace {
namespace {

constexpr int64_t SMALL = 64 << 10;      // files up to this many bytes are read whole: SMALL_FILE in codecs/_ends.py
constexpr int64_t STEP = 4 << 10;        // bytes that are read to see the heads of atoms. A guess
constexpr int64_t TAIL = 4 << 20;        // bytes at the end of a file that are read at once: most `moov` atoms
constexpr int64_t MOST_MOOV = 64 << 20;  // bytes. A day of audio has 16 MiB
constexpr int MOST_ATOMS = 64;           // outermost ones
constexpr double MOST_JUMPS = 2;         // in a second, at most: the index must stay small

uint32_t u32(const char* from) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);
  return static_cast<uint32_t>(bytes[0]) << 24 | static_cast<uint32_t>(bytes[1]) << 16 |
         static_cast<uint32_t>(bytes[2]) << 8 | bytes[3];
}

struct Atom {
  std::string name;
  int64_t begin, stop;  // of its content

  bool is(const char* other) const { return name == other; }
};

// Read the head of the atom at `at`: up to 16 bytes there are at `head`. What holds the atom, another one or the file,
// ends at `stop`. False if there is none.
bool read_atom(const char* head, int64_t at, int64_t stop, Atom* atom) {
  if (stop - at < 8) return false;
  int64_t size = u32(head), head_size = 8;
  if (size == 1) {
    if (stop - at < 16) return false;
    const uint64_t wide = static_cast<uint64_t>(u32(head + 8)) << 32 | u32(head + 12);
    if (wide > static_cast<uint64_t>(stop)) return false;
    size = static_cast<int64_t>(wide);
    head_size = 16;
  }
  if (size == 0) size = stop - at;
  if (size < head_size || size > stop - at) return false;
  *atom = {std::string(head + 4, 4), at + head_size, at + size};
  return true;
}

// Call `each` with every atom in [begin, stop).
template <typename Each>
void for_atoms(const char* data, int64_t begin, int64_t stop, Each each) {
  Atom atom;
  for (int64_t at = begin; read_atom(data + at, at, stop, &atom); at = atom.stop) each(atom);
}

// The first atom with this path, as {"mdia", "minf"}; false if there is none.
bool find(const char* data, Atom from, std::initializer_list<const char*> path, Atom* found) {
  for (const char* name : path) {
    bool is_there = false;
    for_atoms(data, from.begin, from.stop, [&](const Atom& atom) {
      if (is_there || !atom.is(name)) return;
      is_there = true;
      *found = atom;
    });
    if (!is_there) return false;
    from = *found;
  }
  return true;
}

// Where the track's sizes begin, if they are those of the packets; -1 if they are not.
int64_t sizes_in(const char* data, const Atom& track, const std::vector<Mp4Track::Packet>& packets) {
  Atom descriptions, sizes;
  if (!find(data, track, {"mdia", "minf", "stbl", "stsd"}, &descriptions) ||
      !find(data, track, {"mdia", "minf", "stbl", "stsz"}, &sizes))
    return -1;
  constexpr int64_t HEAD = 12;  // version and flags, one size for all or 0, count
  if (descriptions.stop - descriptions.begin < 8 || u32(data + descriptions.begin + 4) != 1) return -1;
  if (sizes.stop - sizes.begin < HEAD || u32(data + sizes.begin + 4) != 0) return -1;
  const int64_t count = u32(data + sizes.begin + 8), room = (sizes.stop - sizes.begin - HEAD) / 4;
  const auto packet_count = static_cast<int64_t>(packets.size());
  if (count > room || packet_count > count) return -1;
  const int64_t first = sizes.begin + HEAD;
  for (int64_t i = 0; i < packet_count; ++i)
    if (u32(data + first + 4 * i) != static_cast<uint32_t>(packets[static_cast<size_t>(i)].size)) return -1;
  return first;
}

}  // namespace

Mp4Head::Mp4Head(const Bytes& file) : size_(file.size()) {
  Atom atom;
  int64_t at = 0;
  bool has_data = false;
  for (int n = 0; n < MOST_ATOMS && size_ - at >= 16 && !(has_data && moov_size_); ++n) {
    const Piece* piece = piece_at(at);
    if (!piece || piece->stop() - at < 16) {
      // Behind the audio there is little but the `moov` atom.
      const int64_t rest = size_ - at;
      const int64_t count = size_ <= SMALL || (has_data && rest <= TAIL) ? rest : std::min(rest, STEP);
      piece = &fetch(file, at, count);
      if (piece->stop() - at < 16) return;
    }
    if (!read_atom(piece->bytes.data() + (at - piece->offset), at, size_, &atom)) return;
    if (atom.is("moof") || atom.is("sidx") || atom.is("styp")) return;  // in fragments: the tables are elsewhere
    if (atom.is("mdat")) has_data = true;
    if (atom.is("moov")) {
      const int64_t length = atom.stop - at;
      if (moov_size_ || length > MOST_MOOV) return;
      if (piece->stop() < atom.stop) piece = &fetch(file, at, std::min(length + STEP, size_ - at));
      if (piece->stop() < atom.stop) return;
      moov_offset_ = atom.begin;
      moov_size_ = atom.stop - atom.begin;
    }
    at = atom.stop;
  }
  if (!has_data) moov_size_ = 0;
}

const char* Mp4Head::moov() const {
  const Piece* piece = piece_at(moov_offset_);
  return piece->bytes.data() + (moov_offset_ - piece->offset);
}

// The piece that reaches farthest of those that hold the byte at `offset`.
const Mp4Head::Piece* Mp4Head::piece_at(int64_t offset) const {
  const Piece* best = nullptr;
  for (const Piece& piece : pieces_)
    if (piece.offset <= offset && offset < piece.stop() && (!best || piece.stop() > best->stop())) best = &piece;
  return best;
}

const Mp4Head::Piece& Mp4Head::fetch(const Bytes& file, int64_t offset, int64_t count) {
  std::string bytes(static_cast<size_t>(count), '\0');
  const int64_t got = file.read(offset, &bytes[0], count);
  if (got < 0) throw_system_error(errno ? errno : EIO);
  bytes.resize(static_cast<size_t>(got));
  pieces_.push_back({offset, std::move(bytes)});
  return pieces_.back();
}

int64_t Mp4Head::ready(int64_t offset, int64_t count) const {
  const Piece* piece = piece_at(offset);
  return piece ? std::min(count, piece->stop() - offset) : 0;
}

int64_t Mp4Head::read(int64_t offset, void* to, int64_t count) const {
  auto* out = static_cast<char*>(to);
  const int64_t most = std::max<int64_t>(0, std::min(count, size_ - offset));
  for (int64_t done = 0; done < most;) {
    const Piece* piece = piece_at(offset + done);
    if (!piece) {
      strayed_ = true;
      std::memset(out + done, 0, static_cast<size_t>(most - done));
      break;
    }
    const int64_t some = std::min(most - done, piece->stop() - (offset + done));
    std::memcpy(out + done, piece->bytes.data() + (offset + done - piece->offset), static_cast<size_t>(some));
    done += some;
  }
  return most;
}

std::optional<PacketIndex> index_mp4(const Mp4Track& track, const AnchorRule& rule, const char* moov,
                                     int64_t moov_offset, int64_t moov_size, int64_t file_size) {
  const auto& packets = track.packets;
  const auto count = static_cast<int64_t>(packets.size());
  if (count < 1 || track.packet_frames < 1 || track.last_frames < 1 || track.skip < 0 || track.sample_rate < 1 ||
      rule.pre_roll < 1 || rule.pre_roll_s > 0)
    return std::nullopt;
  int64_t sizes = -1;
  bool fragments = false;
  for_atoms(moov, 0, moov_size, [&](const Atom& atom) {
    if (atom.is("mvex")) fragments = true;
    if (atom.is("trak") && sizes < 0) sizes = sizes_in(moov, atom, packets);
  });
  if (sizes < 0 || fragments) return std::nullopt;

  PacketIndex index;
  index.pre_roll = rule.pre_roll;
  index.forgets = rule.forgets;
  SizeTable& table = index.table.emplace();
  table.place = moov_offset + sizes;
  table.packets = count;
  table.offset = packets[0].offset;
  table.skip = track.skip;
  table.extradata = track.extradata;
  // The first packets may be dropped whole, which is part of what is skipped; others may not.
  const auto frames_before = [&](int64_t packet) {
    return std::max<int64_t>(0, packet * track.packet_frames - track.skip);
  };
  bool dropping = true;
  int64_t stop = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Mp4Track::Packet& packet = packets[static_cast<size_t>(i)];
    dropping = dropping && packet.dropped;
    if (packet.dropped && (!dropping || frames_before(i + 1))) return std::nullopt;
    if (packet.size < 1 || packet.size > MOST_PACKET || packet.offset < stop) return std::nullopt;
    if (i && packet.offset != stop) table.jumps.push_back({i, packet.offset});
    stop = packet.offset + packet.size;
  }
  if (stop > file_size) return std::nullopt;
  table.stop = stop;
  index.frames = (count - 1) * track.packet_frames + track.last_frames - track.skip;
  if (index.frames < 1 || static_cast<double>(table.jumps.size()) * track.sample_rate >
                              MOST_JUMPS * static_cast<double>(index.frames) + 64.0 * track.sample_rate)
    return std::nullopt;

  int64_t segment = 0;  // its first packet
  for (int64_t i = 0; i < count; ++i) {
    const int64_t frames = frames_before(i);
    const bool due = frames && static_cast<double>(frames - frames_before(segment)) >= rule.spacing_s * track.sample_rate;
    if (!due || i <= rule.pre_roll || i - segment < rule.pre_roll) continue;
    const Mp4Track::Packet &first = packets[static_cast<size_t>(i - rule.pre_roll)], &last = packets[static_cast<size_t>(i - 1)];
    Anchor anchor{frames, i - segment, {first.offset, 0, PacketPlace::NO_TIME, 0, 0}, last.offset + last.size};
    index.anchors.push_back(anchor);
    segment = i;
  }
  for (size_t n = 0; n <= index.anchors.size(); ++n) {
    const auto [first, behind] = index.packets_of(n);
    const uint16_t check = packet_check(reinterpret_cast<const unsigned char*>(moov) + sizes + 4 * first, 4 * (behind - first));
    (n ? index.anchors[n - 1].place.check : table.check) = check;
  }
  return index;
}

std::optional<AacConfig> read_aac_config(const std::string& extradata) {
  size_t at = 0;
  const auto left = [&] { return 8 * extradata.size() - at; };
  const auto take = [&](size_t bits) {
    uint32_t value = 0;
    for (; bits > 0; --bits, ++at)
      value = value << 1 | (static_cast<unsigned char>(extradata[at / 8]) >> (7 - at % 8) & 1u);
    return value;
  };
  static constexpr int RATES[] = {96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350};
  static constexpr int CHANNELS[] = {0, 1, 2, 3, 4, 5, 6, 8};
  if (left() < 16) return std::nullopt;
  const uint32_t kind = take(5), rate = take(4), channels = take(4);
  constexpr uint32_t LOW_COMPLEXITY = 2, SBR = 5, EXTENSION = 0x2b7;
  // Then: packets of 960 frames, a core coder, an extension.
  if (kind != LOW_COMPLEXITY || rate >= sizeof RATES / sizeof *RATES || channels < 1 || channels > 7 || take(3))
    return std::nullopt;
  bool no_sbr = false;
  if (left() >= 17 && take(11) == EXTENSION) {
    if (take(5) != SBR || take(1)) return std::nullopt;
    no_sbr = true;
  }
  return AacConfig{RATES[rate], CHANNELS[channels], no_sbr};
}

std::optional<AlacConfig> read_alac_config(const std::string& extradata) {
  // The head of an atom, version and flags, and the cookie.
  if (extradata.size() < 36 || extradata.compare(4, 4, "alac") != 0) return std::nullopt;
  const char* cookie = extradata.data() + 12;
  const auto channels = static_cast<unsigned char>(cookie[9]);
  const uint32_t frames = u32(cookie), rate = u32(cookie + 20);
  if (channels < 1 || channels > 2 || frames < 1 || frames > 1 << 14 || rate < 1 || rate > 384'000) return std::nullopt;
  return AlacConfig{static_cast<int>(rate), channels, frames};
}

}  // namespace headrace
