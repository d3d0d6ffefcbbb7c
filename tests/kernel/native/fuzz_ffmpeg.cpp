// Feeds the native FFmpeg bridge mutated files and mutated indexes, under sanitizers: its own memory is
// checked, FFmpeg's is not, because FFmpeg is loaded as PyAV ships it.
//
//   fuzz_ffmpeg SEED COUNT LIBRARY FILE SCRATCH DEMUXER CODEC CHANNELS BYTE_SEEK
//
// LIBRARY is libavformat; SCRATCH is overwritten. Prints "COUNT files, N walked, M samples differ" and exits 0, unless a
// sanitizer or a check ends the process. Built and run by tests/codecs/test_anchors.py.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "ffmpeg_functions.h"
#include "fuzz.h"
#include "sources/decode_error.h"
#include "sources/ffmpeg_source.h"
#include "sources/mp4_scan.h"
#include "sources/source.h"

namespace {

using fuzz::below;
using fuzz::contents;
using fuzz::functions_of;
using fuzz::mutated;
using fuzz::next;
using fuzz::store;
using headrace::FfmpegFormat;
using headrace::FfmpegFunctions;
using headrace::FfmpegWalk;
using headrace::PacketIndex;
using headrace::SourceSpec;

// The whole file, which FFmpeg opens; or all of it as a part, which FFmpeg reads through the kernel.
headrace::Place place_of(const char* path) {
  const bool part = below(2) == 0;
  return {path, 0, part ? static_cast<int64_t>(std::filesystem::file_size(path)) : -1, nullptr};
}

// Walk a file to its end and return its index; false if it cannot be walked.
bool walk(const char* path, const FfmpegFormat& format, PacketIndex* index) {
  try {
    FfmpegWalk walked(place_of(path), format);
    const headrace::AnchorRule rule{0.25, 2 + static_cast<int64_t>(below(4)), 0.0, below(2) == 0};
    walked.set_rules(rule, rule);
    while (walked.advance(1 << 14) >= 1 << 14) {
    }
    *index = walked.index();
    return walked.frames() > 0;
  } catch (const headrace::DecodeError&) {
    return false;
  }
}

// Read spans in any order; return how many samples differ from `whole`, if that is given.
long read_spans(SourceSpec spec, const PacketIndex& index, const std::vector<float>* whole) {
  long different = 0;
  spec.place = place_of(spec.place.path.c_str());
  spec.frames = index.frames;
  spec.seek_points = headrace::pack(index);
  const auto channels = static_cast<size_t>(spec.format.channels);
  try {
    const auto source = headrace::open_ffmpeg(spec);
    for (int n = 0; n < 6; ++n) {
      const auto start = static_cast<int64_t>(below(static_cast<uint64_t>(index.frames)));
      std::vector<float> to(5'000 * channels);
      source->seek(start);
      const int64_t got = source->read(to.data(), 5'000);
      if (got < 0 || got > 5'000) std::abort();
      for (size_t i = 0; whole && i < static_cast<size_t>(got) * channels; ++i)
        different += to[i] != (*whole)[static_cast<size_t>(start) * channels + i];
    }
  } catch (const headrace::DecodeError&) {
    if (whole) std::abort();
  }
  return different;
}

// Read the tables of an MP4 file and return its index; false if they prove nothing.
bool read_tables(const char* path, const FfmpegFunctions& functions, PacketIndex* index) {
  const headrace::AnchorRule rule{0.25, 2 + static_cast<int64_t>(below(4)), 0.0, false};
  try {
    const auto scan = headrace::scan_mp4(place_of(path), functions, rule, rule);
    if (scan) *index = scan->index;
    return scan.has_value();
  } catch (const headrace::DecodeError&) {
    return false;
  }
}

// The same by the tables of an MP4 file, whole and mutated, and with an index of another file.
long fuzz_tables(SourceSpec spec, const FfmpegFunctions& functions, const fuzz::File& good) {
  const char* path = spec.place.path.c_str();
  store(good, path);
  PacketIndex index, other;
  if (!read_tables(path, functions, &index)) std::abort();
  std::vector<float> whole(static_cast<size_t>(index.frames) * static_cast<size_t>(spec.format.channels));
  spec.seek_points = headrace::pack(index);
  if (headrace::open_ffmpeg(spec)->read(whole.data(), index.frames) != index.frames) std::abort();
  const long different = read_spans(spec, index, &whole);
  for (int n = 0; n < 20; ++n) {
    store(mutated(good), path);
    read_spans(spec, index, nullptr);
    if (read_tables(path, functions, &other)) read_spans(spec, other, nullptr);
  }
  store(good, path);
  index.table->place += static_cast<int64_t>(below(3)) - 1;
  index.table->packets += static_cast<int64_t>(below(2'000));
  if (!index.anchors.empty()) index.anchors[below(index.anchors.size())].place.offset += static_cast<int64_t>(next() >> 8);
  read_spans(spec, index, nullptr);
  return different;
}

// Read a good file by an index whose layout is that of another one, or of none.
void fuzz_layout(const SourceSpec& spec, const PacketIndex& good) {
  for (int n = 0; n < 20; ++n) {
    PacketIndex index = good;
    headrace::ContainerLayout& layout = *index.layout;
    const auto change = [](int64_t value) -> int64_t {
      return below(2) ? static_cast<int64_t>(next() >> (4 + below(60))) : value + static_cast<int64_t>(below(5));
    };
    switch (below(6)) {
      case 0:
        if (layout.numbers.empty()) break;
        layout.numbers[below(layout.numbers.size())] = change(layout.numbers[0]);
        break;
      case 1:
        layout.first.offset = change(layout.first.offset);
        layout.stop = layout.first.offset + static_cast<int64_t>(below(1'000'000));
        break;
      case 2:
        layout.packets += static_cast<int64_t>(below(2'000));
        break;
      case 3:
        layout.decoder.values[below(layout.decoder.values.size())] = static_cast<int64_t>(below(100'000));
        break;
      case 4:
        layout.dropped = {{static_cast<int64_t>(below(4)), static_cast<uint32_t>(next()), static_cast<uint32_t>(next())}};
        break;
      default:
        if (!index.anchors.empty()) index.anchors[below(index.anchors.size())].place.ordinal = change(0);
    }
    read_spans(spec, index, nullptr);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 10) return 2;
  fuzz::state = std::strtoull(argv[1], nullptr, 10);
  const long count = std::atol(argv[2]);
  const FfmpegFunctions functions = functions_of(argv[3]);
  const fuzz::File good = contents(argv[4]);
  const char* scratch = argv[5];
  const FfmpegFormat any{&functions, argv[6], "", argv[9][0] == '1'};
  SourceSpec spec;
  spec.place.path = scratch;
  spec.format.sample_rate = 48'000;
  spec.format.channels = std::atoi(argv[8]);
  spec.format.ffmpeg = any;
  spec.format.ffmpeg.codec = argv[7];
  long walked = 0, different = 0;
  for (long n = 0; n < count; ++n) {
    store(good, scratch);
    PacketIndex index;
    if (!walk(scratch, any, &index)) std::abort();
    index.forgets = false;  // so that the same index gives the same samples in every order
    std::vector<float> whole(static_cast<size_t>(index.frames) * static_cast<size_t>(spec.format.channels));
    spec.seek_points = headrace::pack(index);
    if (headrace::open_ffmpeg(spec)->read(whole.data(), index.frames) != index.frames) std::abort();
    different += read_spans(spec, index, &whole);
    store(mutated(good), scratch);
    read_spans(spec, index, nullptr);
    PacketIndex other;
    if (walk(scratch, any, &other)) {
      ++walked;
      read_spans(spec, other, nullptr);
    }
    store(good, scratch);
    if (index.layout) fuzz_layout(spec, index);
    if (any.demuxer == "mov") different += fuzz_tables(spec, functions, good);
    if (!index.anchors.empty()) {  // an index of another file
      headrace::Anchor& anchor = index.anchors[below(index.anchors.size())];
      anchor.place.offset += static_cast<int64_t>(below(2'000));
      anchor.place.time += static_cast<int64_t>(below(3)) - 1;
      anchor.packets += static_cast<int64_t>(below(3));
      anchor.place.entry += static_cast<int64_t>(below(3));
      if (index.layout) {
        index.layout->packets += static_cast<int64_t>(below(2'000));
        index.layout->first.ordinal += static_cast<int64_t>(below(3));
        if (!index.layout->numbers.empty()) index.layout->numbers[0] += static_cast<int64_t>(below(2));
      }
      store(good, scratch);
      read_spans(spec, index, nullptr);
    }
  }
  std::printf("%ld files, %ld walked, %ld samples differ\n", count, walked, different);
  return 0;
}
