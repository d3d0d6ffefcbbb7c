// What an MP4 file (M4A, MOV, 3GP) says of its packets, without a look at them.
//
// FFmpeg reads the tables of the `moov` atom, edit lists included. Here is found where the sizes of the packets stand
// in the file, so that loading needs no demuxer, and no more of the tables than it uses.
//
// Guarantees: the index is that of the packets which FFmpeg's demuxer lists: their places and sizes are compared with
// the table, each of them. Where anything is unusual there is no index, and the file is decoded to its end instead.
//
// Units: offsets and sizes are bytes; frames are PCM frames.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sources/bytes.h"
#include "sources/packet_index.h"

namespace headrace {

// The bytes of a file that hold no audio, which FFmpeg reads instead of the file. Others are zeros.
class Mp4Head : public Bytes {
 public:
  // Reads the heads of the outermost atoms, and the whole `moov` atom. Throws DecodeError if the system cannot read.
  explicit Mp4Head(const Bytes& file);

  // Whether there is all that is needed.
  bool complete() const { return moov_size_ > 0; }
  // The `moov` atom without its head; where it stands in the file.
  const char* moov() const;
  int64_t moov_offset() const { return moov_offset_; }
  int64_t moov_size() const { return moov_size_; }
  // Whether other bytes have been read.
  bool strayed() const { return strayed_; }

  int64_t size() const override { return size_; }
  int64_t read(int64_t offset, void* to, int64_t count) const override;
  int64_t ready(int64_t offset, int64_t count) const override;

 private:
  struct Piece {
    int64_t offset;
    std::string bytes;
    int64_t stop() const { return offset + static_cast<int64_t>(bytes.size()); }
  };
  const Piece* piece_at(int64_t offset) const;
  const Piece& fetch(const Bytes& file, int64_t offset, int64_t count);

  const int64_t size_;
  std::vector<Piece> pieces_;
  int64_t moov_offset_ = 0, moov_size_ = 0;
  mutable bool strayed_ = false;
};

// The packets of a track, as FFmpeg lists them.
struct Mp4Track {
  struct Packet {
    int64_t offset;
    int32_t size;
    bool dropped;  // whether the decoder drops what the packet gives
  };
  std::vector<Packet> packets;
  int64_t skip = 0;           // frames that the decoder drops at the start
  int64_t packet_frames = 0;  // that each packet gives, but for the last
  int64_t last_frames = 0;
  int sample_rate = 0;
  std::string extradata;
};

// The index of a track, with a SizeTable, and with the anchors that FfmpegWalk would place. None if the sizes are not
// found in the head, or packets are not where the index could say. `decoder_major` is that of the index.
std::optional<PacketIndex> index_mp4(const Mp4Track& track, const AnchorRule& rule, const char* moov,
                                     int64_t moov_offset, int64_t moov_size, int64_t file_size);

// What AAC's AudioSpecificConfig says, if it is plain: low complexity, 1,024 frames in a packet.
struct AacConfig {
  int sample_rate, channels;
  bool no_sbr;  // whether it says that there is no spectral band replication
};
std::optional<AacConfig> read_aac_config(const std::string& extradata);

// What ALAC's magic cookie says, of mono and stereo.
struct AlacConfig {
  int sample_rate, channels;
  int64_t packet_frames;
};
std::optional<AlacConfig> read_alac_config(const std::string& extradata);

}  // namespace headrace
