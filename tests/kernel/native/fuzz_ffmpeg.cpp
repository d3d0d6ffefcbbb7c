// Feeds the native FFmpeg bridge mutated files and mutated indexes, under sanitizers: its own memory is
// checked, FFmpeg's is not, because FFmpeg is loaded as PyAV ships it.
//
//   fuzz_ffmpeg SEED COUNT LIBRARY FILE SCRATCH DEMUXER CODEC CHANNELS BYTE_SEEK
//
// LIBRARY is libavformat; SCRATCH is overwritten. Prints "COUNT files, N walked, M samples differ" and exits 0, unless a
// sanitizer or a check ends the process. Built and run by tests/codecs/test_anchors.py.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "fuzz.h"
#include "sources/decode_error.h"
#include "sources/ffmpeg_source.h"
#include "sources/source.h"

namespace {

using fuzz::below;
using fuzz::next;
using headrace::FfmpegFormat;
using headrace::FfmpegFunctions;
using headrace::FfmpegWalk;
using headrace::PacketIndex;
using headrace::SourceSpec;

FfmpegFunctions functions_of(const char* library) {
  void* handle = dlopen(library, RTLD_NOW);
  if (!handle) {
    std::fprintf(stderr, "%s\n", dlerror());
    std::abort();
  }
  FfmpegFunctions functions{};
  const auto set = [&](auto*& to, const char* name) {
    void* address = dlsym(handle, name);
    if (!address) std::abort();
    to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(address);
  };
#define SET(name) set(functions.name, #name)
  SET(avcodec_version);
  SET(av_find_input_format);
  SET(avformat_alloc_context);
  SET(avio_alloc_context);
  SET(avio_context_free);
  SET(avformat_open_input);
  SET(avformat_find_stream_info);
  SET(avformat_close_input);
  SET(av_read_frame);
  SET(av_seek_frame);
  SET(avcodec_find_decoder);
  SET(avcodec_get_name);
  SET(avcodec_alloc_context3);
  SET(avcodec_parameters_to_context);
  SET(avcodec_open2);
  SET(avcodec_free_context);
  SET(avcodec_send_packet);
  SET(avcodec_receive_frame);
  SET(av_packet_alloc);
  SET(av_packet_free);
  SET(av_packet_unref);
  SET(av_packet_ref);
  SET(av_packet_free_side_data);
  SET(av_malloc);
  SET(av_free);
  SET(av_frame_alloc);
  SET(av_frame_free);
  SET(av_dict_set);
  SET(av_dict_free);
  SET(av_strerror);
#undef SET
  void (*quiet)(int) = nullptr;
  set(quiet, "av_log_set_level");
  quiet(-8);  // AV_LOG_QUIET
  return functions;
}

fuzz::File contents(const char* path) {
  fuzz::File bytes;
  std::FILE* file = std::fopen(path, "rb");
  if (!file) std::abort();
  for (int byte; (byte = std::fgetc(file)) != EOF;) bytes.push_back(static_cast<unsigned char>(byte));
  std::fclose(file);
  return bytes;
}

void store(const fuzz::File& bytes, const char* path) {
  std::FILE* file = std::fopen(path, "wb");
  if (!file || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size()) std::abort();
  std::fclose(file);
}

fuzz::File mutated(fuzz::File bytes) {
  for (uint64_t n = 1 + below(6); n > 0; --n) {
    const size_t at = below(bytes.size());
    for (size_t i = at; i < bytes.size() && i < at + 1 + below(40); ++i)
      bytes[i] = static_cast<unsigned char>(next());
  }
  if (below(5) == 0) bytes.resize(1 + below(bytes.size()));
  return bytes;
}

// Walk a file to its end and return its index; false if it cannot be walked.
bool walk(const char* path, const FfmpegFormat& format, PacketIndex* index) {
  try {
    FfmpegWalk walked({path, 0, -1, nullptr}, format);
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
    if (!index.anchors.empty()) {  // an index of another file
      headrace::Anchor& anchor = index.anchors[below(index.anchors.size())];
      anchor.place.offset += static_cast<int64_t>(below(2'000));
      anchor.place.time += static_cast<int64_t>(below(3)) - 1;
      anchor.packets += static_cast<int64_t>(below(3));
      store(good, scratch);
      read_spans(spec, index, nullptr);
    }
  }
  std::printf("%ld files, %ld walked, %ld samples differ\n", count, walked, different);
  return 0;
}
