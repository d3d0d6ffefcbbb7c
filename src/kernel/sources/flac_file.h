// FlacFile: decodes a FLAC file from any sample on.
//
// Guarantees
// - Every sample comes from a frame whose checksums and numbers are right.
// - Reading ends before anything that is damaged or not understood. The caller then asks libsndfile.
// - What `read` gives depends only on the position, never on what was read before.
//
// Units: positions and counts are samples of one channel (PCM frames); offsets are bytes. A "frame" of which
// the private part speaks is FLAC's. Frames carry the numbers of their samples; the first number of a file that
// was cut out of another is not 0. Positions are counted from the first sample of the file.
#pragma once
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "sources/bytes.h"
#include "sources/flac_frame.h"

namespace headrace {

class FlacFile {
 public:
  // Return the file at its first sample, or null if its header is not understood. Its frames are measured:
  // the header's number of samples is a claim.
  static std::unique_ptr<FlacFile> measure(std::unique_ptr<Bytes> bytes);

  // The same, but if the file can hold as many frames as the header declares, that is believed.
  static std::unique_ptr<FlacFile> believe(std::unique_ptr<Bytes> bytes);

  // The same of a file that was measured before. `end` is what `end()` was.
  static std::unique_ptr<FlacFile> open(std::unique_ptr<Bytes> bytes, int64_t frames, int64_t end);

  const FlacStream& stream() const { return stream_; }
  int64_t frames() const { return stream_.stop - base_; }
  int64_t declared() const { return declared_; }  // frames that the header declares; 0 if it says "unknown"

  // The offset where another FLAC stream begins, of which nothing is read; 0 if none does.
  int64_t end() const { return end_; }

  // Whether the frames are numbered from 0 to what the header declares, and nothing follows them.
  bool plain() const { return base_ == 0 && frames() == declared_ && end_ == 0; }

  // Fill `to` with up to `frames` interleaved PCM frames, left-aligned in int16, or in int32 if samples
  // have more than 16 bits. Fewer only at the end of the file, or before something that is damaged or not
  // understood.
  int64_t read(void* to, int64_t frames);

  // Continue from this PCM frame, which is within the file.
  void seek(int64_t frame) { position_ = base_ + frame; }

  // The first PCM frame from `frame` on with which a frame begins that can be decoded; -1 if there is none.
  int64_t next_readable(int64_t frame);

  // Find the first and the last frame that stand in bytes [from, to) as a whole, for `tell`. Return false if none does.
  // Nothing can be read after that.
  bool look(int64_t from, int64_t to);
  // The places that a SEEKTABLE claims, as far as that can be read at once: PCM frames of the file, and bytes. Both rise.
  std::vector<std::pair<int64_t, int64_t>> claims();
  // Know where a frame is that has been decoded before, and call `add` for some that are known: the one that the last
  // seek led to and the last one decoded, or the two of `look`. In PCM frames of the file and in bytes.
  void learn(int64_t first, int64_t stop, int64_t offset, int64_t end);
  template <typename Add>
  void tell(const Add& add) const {
    for (const Place& one : {start_, entered_, block_})
      if (one.stop > one.first) add(one.first - base_, one.stop - base_, one.offset, one.end);
  }

  // Whether the system could not read the file.
  bool system_failed() const { return failed_; }

 private:
  // A FLAC frame: its samples [first, stop), the offset where it begins, and an offset that the next frame
  // does not begin before.
  struct Place {
    int64_t first, stop, offset, end;
  };

  explicit FlacFile(std::unique_ptr<Bytes> bytes);
  bool parse();
  bool find_first(int64_t from, int64_t smallest_frame);
  bool find_last(int64_t begin, int64_t end, Place* last);
  bool measure_frames();
  bool can_hold_declared() const;
  bool is_uneven(const Place& last);
  int64_t find_stream(int64_t from);
  void limit(int64_t stop);
  int64_t fetch(int64_t offset, int64_t count, int64_t unit, const unsigned char** p);
  int64_t ready(int64_t offset, int64_t count) const;
  int64_t decode_frame(int64_t offset, FlacHeader* header);
  bool decode(int64_t offset, int64_t first);
  bool reach(int64_t frame);
  bool find(int64_t from, int64_t to, int64_t first, int64_t stop, bool strict, Place* place);
  bool search(int64_t frame, Place low, Place high, bool strict);
  int64_t slot(int64_t frame) const;
  Place known_before(int64_t frame) const;

  std::unique_ptr<Bytes> bytes_;
  int64_t size_;
  FlacStream stream_{};
  int64_t declared_ = 0;
  int64_t table_ = 0, table_bytes_ = 0;  // where the points of a SEEKTABLE stand
  int64_t smallest_ = 0;    // bytes of a frame, as the header says; 0 if it does not
  int64_t base_ = 0;        // the number of the first sample
  int64_t end_ = 0;
  int64_t most_bytes_ = 0;  // in a frame, as the header says
  int64_t verbatim_ = 0;    // in a frame whose samples are stored as they are
  bool failed_ = false;
  Place start_{};           // the first frame; of no samples if it is damaged
  Place block_{};           // the frame that `planes_` holds
  Place entered_{};         // the frame that the last search has found
  int64_t position_ = 0;
  std::vector<int32_t> planes_;
  std::vector<unsigned char> buffer_;  // bytes of the file from `begin_` on
  int64_t begin_ = 0, held_ = 0;
  std::vector<Place> known_;  // frames that have been decoded: the last one of each part of the file
};

}  // namespace headrace
