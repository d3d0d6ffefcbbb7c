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
#include <string>
#include <unordered_map>
#include <vector>

#include "sources/byte_range.h"
#include "sources/source.h"

namespace headrace {

class Landmarks {
 public:
  static constexpr size_t MOST = 1 << 16;

  void note(const std::string& recording, const std::vector<Landmark>& found);
  std::vector<Landmark> of(const std::string& recording) const;
  // The last one that begins at `frame` or before it, and the first one behind it.
  std::vector<Landmark> around(const std::string& recording, int64_t frame) const;
  // Set `range` to about where frames [start, stop) are, of a recording of `frames` frames in `size` bytes. Return
  // false if that is too uncertain to fetch it.
  bool estimate(const std::string& recording, int64_t frames, int64_t size, int64_t start, int64_t stop,
                ByteRange* range) const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::vector<Landmark>> found_;  // by `first`
  std::list<std::string> order_;                                  // recordings, the oldest first
  size_t count_ = 0;
  double uneven_ = 0.15;  // error of an interpolated place, beside the distance to the next landmark; is learnt
};

}  // namespace headrace
