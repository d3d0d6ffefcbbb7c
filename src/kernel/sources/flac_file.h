// FlacFile: decodes a FLAC file from any sample on.
//
// Guarantees
// - Every sample comes from a frame whose checksums and numbers are right.
// - Reading ends before anything that is damaged or not understood. The caller then asks libsndfile.
// - What `read` gives depends only on the position, never on what was read before.
//
// Units: positions and counts are samples of one channel (PCM frames); offsets are bytes. A "frame" of which
// the private part speaks is FLAC's.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "sources/bytes.h"
#include "sources/flac_frame.h"

namespace headrace {

class FlacFile {
 public:
  // Return the file at its first sample, or null if its header is not understood.
  static std::unique_ptr<FlacFile> open(std::unique_ptr<Bytes> bytes);

  const FlacStream& stream() const { return stream_; }

  // Fill `to` with up to `frames` interleaved PCM frames, left-aligned in int16, or in int32 if samples
  // have more than 16 bits. Fewer only at the end of the file, or before something that is damaged or not
  // understood.
  int64_t read(void* to, int64_t frames);

  // Continue from this PCM frame, which is within the file.
  void seek(int64_t frame) { position_ = frame; }

 private:
  // A FLAC frame: its samples [first, stop), the offset where it begins, and an offset that the next frame
  // does not begin before.
  struct Place {
    int64_t first, stop, offset, end;
  };

  explicit FlacFile(std::unique_ptr<Bytes> bytes);
  bool parse();
  int64_t fetch(int64_t offset, int64_t count, int64_t unit, const unsigned char** p);
  bool decode(int64_t offset, int64_t first);
  bool reach(int64_t frame);
  bool find(int64_t from, int64_t to, int64_t first, int64_t stop, bool strict, Place* place);
  bool search(int64_t frame, Place low, Place high, bool strict);
  int64_t slot(int64_t frame) const;

  std::unique_ptr<Bytes> bytes_;
  const int64_t size_;
  FlacStream stream_{};
  int64_t most_bytes_ = 0;  // in a frame
  Place start_{};           // the first frame
  Place block_{};           // the frame that `planes_` holds
  int64_t position_ = 0;
  std::vector<int32_t> planes_;
  std::vector<unsigned char> buffer_;  // bytes of the file from `begin_` on
  int64_t begin_ = 0, held_ = 0;
  std::vector<Place> known_;  // frames that have been decoded: the last one of each part of the file
};

}  // namespace headrace
