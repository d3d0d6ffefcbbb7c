// FlacFile: the samples of a FLAC file, from any of them on; only of files without a contradiction.
//
// What comes out was in frames whose checksums and numbers are right. Whatever else is met, in the
// header or behind it, ends the reading: it is for libsndfile to say what that is.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "sources/flac_frame.h"
#include "sources/wav_layout.h"

namespace headrace {

class FlacFile {
 public:
  // Return the file, at its first frame, or nothing if its header is not understood.
  static std::unique_ptr<FlacFile> open(std::unique_ptr<Bytes> bytes);

  const FlacStream& stream() const { return stream_; }

  // Fill `to` with up to `frames` samples of each channel, left-aligned in int16, or in int32 if they
  // have more bits. Fewer only at the end of the file, or before something that is not understood.
  int64_t read(void* to, int64_t frames);

  // Read on from this sample.
  void seek(int64_t frame) { position_ = frame; }

 private:
  // A frame: its samples, where it begins, and from where on the next one may.
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
  int64_t most_bytes_ = 0;  // of a frame
  Place start_{};           // of the first frame
  Place block_{};           // what `planes_` hold
  int64_t position_ = 0;
  std::vector<int32_t> planes_;
  std::vector<unsigned char> buffer_;  // bytes of the file from `begin_` on
  int64_t begin_ = 0, held_ = 0;
  std::vector<Place> known_;  // frames that were decoded, one at most in each part of the file
};

}  // namespace headrace
