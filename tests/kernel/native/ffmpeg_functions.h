// FFmpeg's functions, from the libraries that PyAV ships, and files for programs that feed it mutated ones.
#pragma once
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include "fuzz.h"
#include "sources/ffmpeg_library.h"

namespace fuzz {

// LIBRARY is libavformat, which needs the others.
inline headrace::FfmpegFunctions functions_of(const char* library) {
  void* handle = dlopen(library, RTLD_NOW);
  if (!handle) {
    std::fprintf(stderr, "%s\n", dlerror());
    std::abort();
  }
  headrace::FfmpegFunctions functions{};
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
  SET(avcodec_find_decoder_by_name);
  SET(avcodec_get_name);
  SET(avcodec_alloc_context3);
  SET(avcodec_parameters_alloc);
  SET(avcodec_parameters_free);
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

inline File contents(const char* path) {
  File bytes;
  std::FILE* file = std::fopen(path, "rb");
  if (!file) std::abort();
  for (int byte; (byte = std::fgetc(file)) != EOF;) bytes.push_back(static_cast<unsigned char>(byte));
  std::fclose(file);
  return bytes;
}

inline void store(const File& bytes, const char* path) {
  std::FILE* file = std::fopen(path, "wb");
  if (!file || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size()) std::abort();
  std::fclose(file);
}

inline File mutated(File bytes) {
  for (uint64_t n = 1 + below(6); n > 0; --n) {
    const size_t at = below(bytes.size());
    for (size_t i = at; i < bytes.size() && i < at + 1 + below(40); ++i)
      bytes[i] = static_cast<unsigned char>(next());
  }
  if (below(5) == 0) bytes.resize(1 + below(bytes.size()));
  return bytes;
}

}  // namespace fuzz
