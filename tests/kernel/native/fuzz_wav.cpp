// Feeds the native WAV reader mutated files, in memory of exactly their size, under sanitizers.
//
//   fuzz_wav SEED COUNT FILE
//
// FILE is scratch. Prints "COUNT files N understood" and exits 0, unless a sanitizer or a check ends
// the process. Built and run by tests/test_wav.py.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "sources/wav_layout.h"
#include "sources/open_source.h"
#include "fuzz.h"

namespace {

using fuzz::below;
using fuzz::Memory;
using fuzz::next;

void put(std::vector<unsigned char>& to, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) to.push_back(static_cast<unsigned char>(value >> (8 * i)));
}
void put(std::vector<unsigned char>& to, const char* text) {
  for (const char* p = text; *p; ++p) to.push_back(static_cast<unsigned char>(*p));
}

// A good file: RIFF or RF64, plain or extensible, with or without chunks around.
std::vector<unsigned char> good() {
  static const int bits_of[] = {8, 16, 24, 32, 32, 64};
  const int encoding = static_cast<int>(below(6));
  const int bits = bits_of[encoding], channels = 1 + static_cast<int>(below(5));
  const uint64_t tag = encoding >= 4 ? 3 : 1, frames = below(60), block = channels * bits / 8;
  const bool rf64 = below(4) == 0, extensible = below(3) == 0;
  std::vector<unsigned char> f;
  put(f, rf64 ? "RF64" : "RIFF");
  put(f, rf64 ? 0xFFFFFFFFu : 4 + frames * block, 4);
  put(f, "WAVE");
  if (rf64) {
    put(f, "ds64");
    put(f, 28, 4);
    put(f, 0, 8);
    put(f, frames * block, 8);
    put(f, frames, 8);
    put(f, 0, 4);
  }
  if (below(2)) {
    const uint64_t size = below(9);
    put(f, "LIST");
    put(f, size, 4);
    for (uint64_t i = 0; i < size + (size & 1); ++i) f.push_back(7);
  }
  put(f, "fmt ");
  put(f, extensible ? 40 : 16, 4);
  put(f, extensible ? 0xFFFE : tag, 2);
  put(f, channels, 2);
  put(f, 8000, 4);
  put(f, 8000 * block, 4);
  put(f, block, 2);
  put(f, bits, 2);
  if (extensible) {
    static const unsigned char tail[] = {0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113};
    put(f, 22, 2);
    put(f, bits, 2);
    put(f, 0, 4);
    put(f, tag, 2);
    f.insert(f.end(), tail, tail + sizeof tail);
  }
  put(f, "data");
  put(f, rf64 ? 0xFFFFFFFFu : frames * block, 4);
  for (uint64_t i = 0; i < frames * block; ++i) f.push_back(static_cast<unsigned char>(next()));
  return f;
}

void mutate(std::vector<unsigned char>& f) {
  for (uint64_t n = below(5); n > 0 && !f.empty(); --n) {
    const size_t at = below(f.size() < 120 ? f.size() : 120);
    switch (below(6)) {
      case 0: f[at] ^= static_cast<unsigned char>(1u << below(8)); break;
      case 1: f[at] = static_cast<unsigned char>(next()); break;
      case 2: f.resize(below(f.size() + 1)); break;
      case 3: f.insert(f.begin() + static_cast<long>(at), static_cast<size_t>(below(9)), 0xFF); break;
      case 4: f.erase(f.begin() + static_cast<long>(at)); break;
      default:
        for (size_t i = at; i < at + 4 && i < f.size(); ++i) f[i] = below(2) ? 0xFF : 0x00;
    }
  }
}

void* no_open(const void*, int, headrace::LibsndfileFunctions::Info*) { return nullptr; }
void* no_open_fd(int, int, headrace::LibsndfileFunctions::Info*, int) { return nullptr; }
int no_int(void*) { return 0; }
int64_t no_seek(void*, int64_t, int) { return -1; }
int64_t no_read(void*, void*, int64_t) { return 0; }
const char* no_text(void*) { return "left to libsndfile"; }

// Read what the layout promises from a file, in random pieces, into memory of exactly their size.
void read_all(const std::vector<unsigned char>& f, const headrace::WavLayout& layout,
              const char* path) {
  std::FILE* out = std::fopen(path, "wb");
  if (!out || std::fwrite(f.data(), 1, f.size(), out) != f.size()) std::abort();
  std::fclose(out);
  static const headrace::SampleType types[] = {
      headrace::SampleType::INT16, headrace::SampleType::INT16,   headrace::SampleType::INT32,
      headrace::SampleType::INT32, headrace::SampleType::FLOAT32, headrace::SampleType::FLOAT64};
  headrace::SourceSpec spec;
  spec.format.sample_rate = layout.sample_rate;
  spec.format.channels = layout.channels;
  spec.format.sample_type = types[static_cast<int>(layout.encoding)];
  spec.format.exact_seek = true;
  spec.format.wav_encoding = layout.encoding;
  spec.place.path = path;
  spec.frames = layout.frames;
  const headrace::LibsndfileFunctions library{
      no_open, no_int, no_seek, {no_read, no_read, no_read, no_read}, no_int, no_text, nullptr, no_open_fd};
  const auto source = headrace::open_source(spec, library);
  const int64_t frame = layout.channels * headrace::bytes_per_sample(spec.format.sample_type);
  for (int n = 0; n < 8; ++n) {
    const int64_t start = static_cast<int64_t>(below(static_cast<uint64_t>(layout.frames) + 1));
    const int64_t count = static_cast<int64_t>(below(static_cast<uint64_t>(layout.frames) + 3));
    source->seek(start);
    std::vector<unsigned char> to(static_cast<size_t>(count * frame));
    const int64_t got = source->read(to.data(), count);
    const int64_t left = layout.frames - start;
    if (got != (count < left ? count : left)) std::abort();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  fuzz::state = std::strtoull(argv[1], nullptr, 10);
  const long count = std::atol(argv[2]);
  long understood = 0;
  for (long n = 0; n < count; ++n) {
    std::vector<unsigned char> f = good();
    mutate(f);
    headrace::WavLayout layout;
    if (!headrace::parse_wav(Memory(f), &layout)) continue;
    ++understood;
    const int64_t frame =
        int64_t{headrace::bytes_per_encoded_sample(layout.encoding)} * layout.channels;
    if (layout.frames < 1 || layout.channels < 1 || layout.sample_rate < 1 || layout.data_offset < 0 ||
        layout.frames > (static_cast<int64_t>(f.size()) - layout.data_offset) / frame)
      std::abort();  // a promise that the file does not keep
    read_all(f, layout, argv[3]);
  }
  std::printf("%ld files %ld understood\n", count, understood);
  return 0;
}
