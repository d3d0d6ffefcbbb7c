#include "sources/flac_search.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "sources/decode_error.h"
#include "sources/fetched_store.h"
#include "sources/flac_file.h"

namespace headrace {
namespace {

constexpr int64_t HEADER = 4 << 10;  // bytes to fetch of metadata behind those that decoders always read. A guess
constexpr int MOST_STEPS = 8;        // then whoever reads asks for what is missing

}  // namespace

std::optional<FlacRange> search_flac(const FlacPlace& file, const std::string& name, Landmarks& landmarks,
                                     int64_t start, int64_t stop, ByteRange held, bool probed, int steps) {
  auto store = std::dynamic_pointer_cast<FetchedStore>(file.place.store);
  if (!store || steps >= MOST_STEPS) return std::nullopt;
  const auto there = std::make_shared<HeldObjects>(std::move(store));
  Place place = file.place;
  place.store = there;
  const int64_t size = file.end > 0 ? file.end : file.size;
  try {
    const auto opened = FlacFile::open(open_bytes(place, file.size), file.frames, file.end);
    if (!opened) {
      const int64_t missed = there->missed() - place.offset;
      if (there->missed() < 0 || missed >= size) return std::nullopt;
      return FlacRange{missed, std::min(size, missed + HEADER), FlacRange::HEADER};
    }
    std::vector<Landmark> found;
    if (!landmarks.knows(name))
      for (const auto& [first, offset] : opened->claims()) found.push_back({first, first, offset, offset});
    opened->look(held.begin, held.end);
    opened->tell([&](int64_t first, int64_t last, int64_t offset, int64_t end) {
      found.push_back({first, last, offset, end});
    });
    landmarks.note(name, found);
  } catch (const DecodeError&) {
    return std::nullopt;  // whoever reads it reports that
  }
  return landmarks.next(name, file.frames, size, start, stop, held, probed, steps);
}

}  // namespace headrace
