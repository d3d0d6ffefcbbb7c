#include "sources/source.h"

#include "sources/ogg_index.h"
#include "sources/packet_index.h"

namespace headrace {

int bytes_per_sample(SampleType type) {
  return type == SampleType::INT16 ? 2 : type == SampleType::FLOAT64 ? 8 : 4;
}

bool has_packet_index(const SourceSpec& spec) {
  return !spec.seek_points.empty() &&
         (spec.seek_points[0] == PacketIndex::TAG || spec.seek_points[0] == OggIndex::TAG);
}

}  // namespace headrace
