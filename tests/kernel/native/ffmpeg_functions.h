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
  const auto address_of = [&](const char* name) {
    void* address = dlsym(handle, name);
    if (!address) std::abort();
    return address;
  };
  headrace::set_functions(&functions, address_of);
  const auto quiet = reinterpret_cast<void (*)(int)>(address_of("av_log_set_level"));
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
