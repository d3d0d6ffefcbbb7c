// Which bytes a read of FLAC needs, found out from those that are there.
//
// FLAC has no index. Who fetches bytes asks here what to fetch, and again when that has come, until the frames from the
// first sample of the read to its last one are there. Nothing waits, so many reads are looked for at once.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "sources/landmarks.h"
#include "sources/place.h"

namespace headrace {

// What is known of a file beforehand.
struct FlacPlace {
  const Place& place;  // in a FetchedStore
  int64_t size;        // bytes
  int64_t frames;      // PCM frames
  int64_t end;         // where another stream begins; 0 if none does
};

// Look into the bytes `held` of a file, note the frames there as landmarks of `name`, and return what to fetch next for
// PCM frames [start, stop). Nothing if they are all there, or if the file is not understood: then whoever reads it asks for
// bytes. `steps` ranges have been fetched so far.
std::optional<FlacRange> search_flac(const FlacPlace& file, const std::string& name, Landmarks& landmarks,
                                     int64_t start, int64_t stop, ByteRange held, bool probed, int steps);

}  // namespace headrace
