// Landmarks: where frames of FLAC files stand that have been decoded. FLAC files have no index, so this is one that grows.
//
// They say where to look first, and which bytes to fetch. What is decoded does not depend on them. How far a place between
// two of them may be from where it is thought to be is learnt from those that are found.
//
// Guarantees: thread-safe; at most MOST landmarks are kept.
//
// Units: `first` and `stop` are PCM frames of the recording; `offset` and `end` are bytes of its file.
#pragma once
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "sources/byte_range.h"
#include "sources/source.h"

namespace headrace {

// What to fetch next for a read of FLAC.
struct FlacRange {
  enum Kind {
    EXACT,   // these bytes are decoded
    LIKELY,  // these are probably decoded
    UNSURE,  // the same, but who waits for other reads of the recording knows better
    PROBE,   // a frame here will tell more
    HEADER,  // what stands before the first frame
  };
  int64_t begin, end;
  Kind kind;
};

class Landmarks {
 public:
  static constexpr size_t MOST = 1 << 16;

  // One that ends where it begins is a claim: it helps to estimate places, and nobody else is told.
  void note(const std::string& recording, const std::vector<Landmark>& found);
  bool knows(const std::string& recording) const;
  // The first one behind `frame`, and then the last one that begins at `frame` or before it.
  std::vector<Landmark> around(const std::string& recording, int64_t frame) const;
  // What to fetch for frames [start, stop) of a recording of `frames` frames in `size` bytes, when `held` has been
  // fetched, and `steps` ranges before that. Nothing if `held` has all of them.
  std::optional<FlacRange> next(const std::string& recording, int64_t frames, int64_t size, int64_t start,
                                int64_t stop, ByteRange held, bool probed, int steps) const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::vector<Landmark>> found_;  // by `first`
  std::list<std::string> order_;                                  // recordings, the oldest first
  size_t count_ = 0;
  // Errors of interpolated places, beside the distance to the next landmark: half of them are smaller than the first
  // number, four of five smaller than the second one. Both are learnt.
  double usual_ = 0.03, large_ = 0.09;
};

}  // namespace headrace
