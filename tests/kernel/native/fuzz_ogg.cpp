// Feeds the walk over Ogg, the index and the bridge to FFmpeg's decoders mutated files and indexes, under sanitizers.
// FFmpeg's own memory is not checked, because it is loaded as PyAV ships it.
//
//   fuzz_ogg SEED COUNT LIBRARY FILE SCRATCH CODEC CHANNELS
//
// LIBRARY is libavformat; SCRATCH is overwritten. Prints "COUNT files, N walked, M samples differ" and exits 0, unless a
// sanitizer or a check ends the process. Built and run by tests/codecs/test_ogg.py.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "ffmpeg_functions.h"
#include "fuzz.h"
#include "sources/decode_error.h"
#include "sources/ogg_index.h"
#include "sources/ogg_source.h"
#include "sources/ogg_walk.h"
#include "sources/place.h"

namespace {

using fuzz::below;
using headrace::OggIndex;
using headrace::OggRule;
using headrace::OggWalk;
using headrace::SourceSpec;

// Walk a file to its end; return whether there is a recording of the right kind.
bool walk(const char* path, const SourceSpec& spec, OggIndex* index) {
  const OggRule rule{0.1 * static_cast<double>(1 + below(10)), 1 + static_cast<int64_t>(below(9)), 0.05};
  OggWalk walked(headrace::open_bytes(headrace::Place{path}), rule, rule);
  while (walked.advance(1 + static_cast<int64_t>(below(30'000)))) {
  }
  if (!walked.usable() || walked.frames() <= 0) return false;
  *index = walked.index();
  index->decoder_major = spec.format.ffmpeg.library->avcodec_version() >> 16;
  return walked.channels() == spec.format.channels && walked.sample_rate() == spec.format.sample_rate;
}

// Read spans in any order; return how many samples differ from `whole`, if that is given.
long read_spans(SourceSpec spec, const OggIndex& index, const std::vector<float>* whole) {
  long different = 0;
  spec.frames = index.frames;
  spec.seek_points = headrace::pack(index);
  OggIndex again;
  if (!headrace::unpack(spec.seek_points.data(), spec.seek_points.size(), &again)) return 0;
  const auto channels = static_cast<size_t>(spec.format.channels);
  try {
    const auto source = headrace::open_ogg(spec);
    for (int n = 0; n < 8; ++n) {
      const auto start = static_cast<int64_t>(below(static_cast<uint64_t>(index.frames)));
      const auto count = static_cast<int64_t>(1 + below(9'000));
      const auto range = index.byte_range(start, std::min(index.frames, start + count));
      if (range.first >= range.second && whole) std::abort();
      std::vector<float> to(static_cast<size_t>(count) * channels);
      if (n || below(2)) source->seek(start);
      const int64_t got = source->read(to.data(), count);
      if (got < 0 || got > count) std::abort();
      if (whole && n && got != std::min(count, index.frames - start)) std::abort();
      for (size_t i = 0; whole && n && i < static_cast<size_t>(got) * channels; ++i)
        different += to[i] != (*whole)[static_cast<size_t>(start) * channels + i];
      if (got < count) source->resume(std::min(index.frames - 1, start + got));
    }
  } catch (const headrace::DecodeError&) {
    if (whole) std::abort();
  }
  return different;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) return 2;
  fuzz::state = std::strtoull(argv[1], nullptr, 10);
  const long count = std::atol(argv[2]);
  const headrace::FfmpegFunctions functions = fuzz::functions_of(argv[3]);
  const fuzz::File good = fuzz::contents(argv[4]);
  const char* scratch = argv[5];
  SourceSpec spec;
  spec.place.path = scratch;
  spec.format.sample_rate = 48'000;
  spec.format.channels = std::atoi(argv[7]);
  spec.format.ffmpeg = {&functions, "ogg", argv[6], false};
  long walked = 0, different = 0;
  for (long n = 0; n < count; ++n) {
    fuzz::store(good, scratch);
    OggIndex index;
    if (!walk(scratch, spec, &index)) std::abort();
    std::vector<float> whole(static_cast<size_t>(index.frames) * static_cast<size_t>(spec.format.channels));
    spec.seek_points = headrace::pack(index);
    spec.frames = index.frames;
    if (headrace::open_ogg(spec)->read(whole.data(), index.frames) != index.frames) std::abort();
    different += read_spans(spec, index, &whole);
    fuzz::store(fuzz::mutated(good), scratch);
    read_spans(spec, index, nullptr);
    OggIndex other;
    if (walk(scratch, spec, &other)) {
      ++walked;
      read_spans(spec, other, nullptr);
    }
    // An index of another file.
    headrace::OggLink& link = index.links[below(index.links.size())];
    if (!link.anchors.empty()) {
      headrace::OggAnchor& anchor = link.anchors[below(link.anchors.size())];
      anchor.offset += static_cast<int64_t>(below(2'000));
      anchor.skip += static_cast<int64_t>(below(3'000));
      anchor.start += static_cast<int64_t>(below(3));
    }
    link.trim += static_cast<int64_t>(below(2) << below(60));
    link.setup_offset += static_cast<int64_t>(below(2) * below(300));
    fuzz::store(good, scratch);
    read_spans(spec, index, nullptr);
  }
  std::printf("%ld files, %ld walked, %ld samples differ\n", count, walked, different);
  return 0;
}
