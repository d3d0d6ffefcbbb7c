// Feeds the native FLAC reader mutated files, in memory of exactly their size, under sanitizers.
//
//   fuzz_flac SEED COUNT FILE...
//
// Mutates each of the good FILEs COUNT times: anywhere, or inside a frame whose checksums are then put
// right again, so that what is behind them is reached. Prints "N files N understood N whole" and
// exits 0, unless a sanitizer or a check ends the process. Built and run by tests/test_flac.py.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "sources/flac_file.h"
#include "fuzz.h"

namespace {

using fuzz::below;
using fuzz::File;
using fuzz::Memory;
using fuzz::next;

unsigned crc(const unsigned char* p, size_t count, int bits, unsigned polynomial) {
  unsigned crc = 0;
  for (size_t i = 0; i < count; ++i) {
    crc ^= static_cast<unsigned>(p[i]) << (bits - 8);
    for (int bit = 0; bit < 8; ++bit) crc = crc << 1 ^ (crc >> (bits - 1) & 1 ? polynomial : 0);
    crc &= (1u << bits) - 1;
  }
  return crc;
}

void spoil(File& f, size_t from, size_t to) {
  for (uint64_t n = 1 + below(4); n > 0 && from < to; --n) {
    const size_t at = from + below(to - from);
    switch (below(3)) {
      case 0: f[at] ^= static_cast<unsigned char>(1u << below(8)); break;
      case 1: f[at] = static_cast<unsigned char>(next()); break;
      default:
        for (size_t i = at; i < at + 4 && i < to; ++i) f[i] = below(2) ? 0xFF : 0x00;
    }
  }
}

// The frame headers of a good file: where a sync code has the right checksum behind it.
std::vector<std::pair<size_t, size_t>> headers(const File& f) {
  std::vector<std::pair<size_t, size_t>> found;
  for (size_t i = 42; i + 16 < f.size(); ++i)
    if (f[i] == 0xFF && (f[i + 1] & 0xFE) == 0xF8)
      for (size_t n = 5; n < 16; ++n)
        if (crc(&f[i], n, 8, 0x107) == f[i + n]) {
          found.emplace_back(i, n);
          break;
        }
  return found;
}

File mutated(const File& good, const std::vector<std::pair<size_t, size_t>>& heads) {
  File f = good;
  switch (below(4)) {
    case 0: spoil(f, 0, below(2) ? 60 : f.size()); break;
    case 1: f.resize(below(f.size() + 1)); break;
    case 2: {
      const size_t at = below(f.size()), count = below(300);
      f.erase(f.begin() + static_cast<long>(at),
              f.begin() + static_cast<long>(at + count < f.size() ? at + count : f.size()));
      break;
    }
    default: {  // inside a frame
      const size_t one = below(heads.size()), at = heads[one].first;
      const size_t end = one + 1 < heads.size() ? heads[one + 1].first : f.size();
      if (end < at + 20) break;
      const size_t body = at + heads[one].second + 1;
      if (below(4) == 0) spoil(f, at + 2, at + heads[one].second);
      spoil(f, body, below(2) ? (body + 12 < end - 2 ? body + 12 : end - 2) : end - 2);
      f[at + heads[one].second] = static_cast<unsigned char>(crc(&f[at], heads[one].second, 8, 0x107));
      const unsigned sum = crc(&f[at], end - 2 - at, 16, 0x18005);
      f[end - 2] = static_cast<unsigned char>(sum >> 8);
      f[end - 1] = static_cast<unsigned char>(sum);
    }
  }
  return f;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  fuzz::state = std::strtoull(argv[1], nullptr, 10);
  const long count = std::atol(argv[2]);
  long files = 0, understood = 0, whole = 0;
  for (int a = 3; a < argc; ++a) {
    std::FILE* in = std::fopen(argv[a], "rb");
    File good;
    for (int c; in && (c = std::fgetc(in)) != EOF;) good.push_back(static_cast<unsigned char>(c));
    if (!in || good.size() < 64) return 2;
    std::fclose(in);
    const auto heads = headers(good);
    for (long n = 0; n < count; ++n, ++files) {
      const auto file = headrace::FlacFile::measure(std::make_unique<Memory>(mutated(good, heads), true));
      if (!file) continue;
      ++understood;
      const headrace::FlacStream& stream = file->stream();
      const int64_t frame_bytes = stream.channels * (stream.bits <= 16 ? 2 : 4);
      const int64_t most = file->frames() < 20000 ? file->frames() : 20000;
      bool all = true;
      for (int k = 0; k < 6; ++k) {  // in memory of exactly their size
        const int64_t start =
            k == 0 ? 0 : static_cast<int64_t>(below(static_cast<uint64_t>(file->frames()) + 1));
        const int64_t left = file->frames() - start;
        const int64_t some = k == 0 ? most : left < 700 ? left : 700;
        std::vector<unsigned char> to(static_cast<size_t>(some * frame_bytes));
        if (k == 0 || below(3)) file->seek(start);
        const int64_t got = file->read(to.data(), some);
        if (got < 0 || got > some) std::abort();
        all = all && got == some;
      }
      whole += all;
      for (const auto& [first, offset] : file->claims())
        if (first < 0 || first >= file->frames() || offset < 0) std::abort();
      // Frames that are found in a part stand there, the first before the last.
      const int64_t from = static_cast<int64_t>(below(good.size())), to = from + static_cast<int64_t>(below(9000));
      if (!file->look(from, to)) continue;
      std::vector<int64_t> offsets;
      file->tell([&](int64_t first, int64_t stop, int64_t offset, int64_t end) {
        if (first < 0 || stop > file->frames() || stop <= first || end <= offset) std::abort();
        offsets.push_back(offset);
        if (offsets.size() > 1 && (offset < from || end > to)) std::abort();
      });
      if (offsets.size() > 2 && offsets[1] > offsets[2]) std::abort();
    }
  }
  std::printf("%ld files %ld understood %ld whole\n", files, understood, whole);
  return 0;
}
