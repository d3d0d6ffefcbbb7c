// Feeds the native MP3 index mutated files and mutated seek points, in memory of exactly their size, under
// sanitizers, and shows a decoder that only reads what it would show libsndfile.
//
//   fuzz_mp3 SEED COUNT FILE
//
// FILE is scratch. Prints "COUNT files, N understood" and exits 0, unless a sanitizer or a check ends
// the process. Built and run by tests/test_mp3.py.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "sources/mp3_index.h"
#include "sources/decode_error.h"
#include "sources/libsndfile.h"
#include "sources/open_source.h"
#include "fuzz.h"

namespace {

using fuzz::below;
using fuzz::Memory;
using fuzz::next;

struct Made {
  std::vector<unsigned char> bytes;
  int64_t declared;
};

// A good file: some frames of one rate and random bitrates, whose audio data are noise, tags around.
Made good() {
  Made made;
  std::vector<unsigned char>& f = made.bytes;
  static const unsigned char versions[] = {0xFB, 0xF3, 0xE3};
  const unsigned char version = versions[below(3)], rate = static_cast<unsigned char>(below(3) << 2);
  const unsigned char mode = below(2) ? 0xC0 : 0x40;
  const unsigned checksum = below(4) == 0;
  if (below(3) == 0) {
    const unsigned char tag[] = {'I', 'D', '3', 3, 0, 0, 0, 0, 0, 20};
    f.insert(f.end(), tag, tag + sizeof tag);
    f.resize(f.size() + 20);
  }
  const int64_t count = 60 + static_cast<int64_t>(below(150));
  int64_t before = 0, frames = 0;
  int samples = 0;
  for (int64_t n = 0; n < count; ++n) {
    unsigned char head[headrace::MP3_HEAD_BYTES] = {
        0xFF, static_cast<unsigned char>(version & (checksum ? 0xFE : 0xFF)),
        static_cast<unsigned char>((1 + below(14)) << 4 | rate | below(2) << 1), mode};
    headrace::Mp3Frame frame{};
    if (!headrace::read_mp3_frame(head, &frame) || !frame.valid_side) continue;
    const int64_t most = frame.samples == 576 ? 255 : 511;
    const uint64_t back = below(static_cast<uint64_t>(before < most ? before : most) + 1);
    const size_t at = f.size(), side = 4 + 2 * checksum;
    f.resize(at + static_cast<size_t>(frame.bytes));
    for (size_t i = 4; i < side; ++i) head[i] = static_cast<unsigned char>(next());
    if (most == 255) head[side] = static_cast<unsigned char>(back);
    else head[side] = static_cast<unsigned char>(back >> 1), head[side + 1] = back << 7 & 128;
    const int heads = frame.bytes < headrace::MP3_HEAD_BYTES ? frame.bytes : headrace::MP3_HEAD_BYTES;
    std::memcpy(&f[at], head, static_cast<size_t>(heads));
    for (size_t i = f.size() - static_cast<size_t>(frame.data_bytes); i < f.size(); ++i)
      f[i] = static_cast<unsigned char>(next());
    before = static_cast<int64_t>(back) + frame.data_bytes;
    samples = frame.samples;
    ++frames;
  }
  if (below(3) == 0) {
    const char tag[129] = "TAG";
    f.insert(f.end(), tag, tag + 128);
  }
  made.declared = frames * samples;
  return made;
}

void mutate(std::vector<unsigned char>* f) {
  for (uint64_t n = below(4); n > 0 && !f->empty(); --n) {
    const size_t at = below(f->size());
    switch (below(5)) {
      case 0: (*f)[at] ^= static_cast<unsigned char>(1u << below(8)); break;
      case 1: (*f)[at] = static_cast<unsigned char>(next()); break;
      case 2: if (below(4) == 0) f->resize(below(f->size() + 1)); break;
      case 3: f->insert(f->begin() + static_cast<long>(at), static_cast<size_t>(below(9)), 0xFF); break;
      default: f->erase(f->begin() + static_cast<long>(at));
    }
  }
}

using headrace::LibsndfileFunctions;
using Info = LibsndfileFunctions::Info;
using VirtualFile = LibsndfileFunctions::VirtualFile;

// A decoder that reads on and on, and makes a frame of zeros of each that it is shown.
struct Reading {
  VirtualFile* functions;
  void* user;
  std::vector<unsigned char> left;
};

void* open_path(const void*, int, Info* info) {
  *info = {1 << 20, 44100, 1, 0, 1, 1};
  return new Reading{nullptr, nullptr, {}};
}
void* open_fd(int, int, Info* info, int) { return open_path(nullptr, 0, info); }
void* open_virtual(VirtualFile* functions, int, Info* info, void* user) {
  *info = {1 << 20, 44100, 1, 0, 1, 1};
  const int64_t size = functions->size(user);
  std::vector<unsigned char> end(200);
  functions->seek(-128, SEEK_END, user);
  if (functions->read(end.data(), 200, user) != 128) std::abort();
  functions->seek(size + 5, SEEK_SET, user);
  if (functions->read(end.data(), 200, user) != 0) std::abort();
  functions->seek(0, SEEK_SET, user);
  if (functions->tell(user) != 0) std::abort();
  return new Reading{functions, user, {}};
}
int close(void* handle) {
  delete static_cast<Reading*>(handle);
  return 0;
}
int64_t no_seek(void*, int64_t, int) { return -1; }
int64_t read_floats(void* handle, void* to, int64_t frames) {
  Reading& reading = *static_cast<Reading*>(handle);
  if (reading.functions) {
    std::vector<unsigned char> some(1 + below(3000));
    const int64_t got =
        reading.functions->read(some.data(), static_cast<int64_t>(some.size()), reading.user);
    if (got < 0 || got > static_cast<int64_t>(some.size())) std::abort();
    if (got == 0) return 0;
  }
  std::memset(to, 0, static_cast<size_t>(frames) * sizeof(float));
  return frames;
}
int no_error(void*) { return 0; }
const char* no_text(void*) { return ""; }

// Ask for spans of what the seek points promise of the file, mutated or not.
void read_spans(const std::vector<unsigned char>& f, const std::string& points, const char* path) {
  std::FILE* out = std::fopen(path, "wb");
  if (!out || std::fwrite(f.data(), 1, f.size(), out) != f.size()) std::abort();
  std::fclose(out);
  headrace::SourceSpec spec;
  spec.format.sample_rate = 44100;
  spec.format.channels = 1;
  spec.place.path = path;
  spec.frames = 1 << 20;
  spec.seek_points = points;
  const headrace::LibsndfileFunctions library{open_path, close, no_seek,
                                  {read_floats, read_floats, read_floats, read_floats},
                                  no_error, no_text, open_virtual, open_fd};
  try {
    const auto source = headrace::open_source(spec, library);
    for (int n = 0; n < 6 && source->seekable(); ++n) {
      source->seek(static_cast<int64_t>(below(200'000)));
      std::vector<float> to(5'000);
      source->read(to.data(), static_cast<int64_t>(to.size()));
    }
  } catch (const headrace::DecodeError&) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  fuzz::state = std::strtoull(argv[1], nullptr, 10);
  const long count = std::atol(argv[2]);
  long understood = 0;
  for (long n = 0; n < count; ++n) {
    Made made = good();
    std::vector<unsigned char> f = made.bytes;
    if (below(4) == 0) {  // joined, with what may stand between
      const Made other = good();
      f.resize(f.size() - below(300) * below(2));
      if (below(4) == 0) f.insert(f.end(), static_cast<size_t>(below(5'000)), static_cast<unsigned char>(below(2)));
      f.insert(f.end(), other.bytes.begin(), other.bytes.end());
    }
    if (below(2)) mutate(&f);
    headrace::Mp3Scan scan;
    headrace::Mp3Index again;
    if (!headrace::scan_mp3(Memory(f), &scan) || !scan.index.frames) continue;
    ++understood;
    headrace::Mp3Index& index = scan.index;
    if (index.end > static_cast<int64_t>(f.size()) || scan.length < 0 ||
        scan.length > index.frames * index.samples || (f == made.bytes && scan.length != made.declared) ||
        static_cast<int64_t>(index.points.size()) !=
            (index.frames + headrace::Mp3Index::EVERY - 1) / headrace::Mp3Index::EVERY)
      std::abort();  // a promise that the file does not keep
    std::string points = headrace::pack(index);
    if (!headrace::unpack(points.data(), points.size(), &again) || again.points != index.points ||
        again.frames != index.frames || again.end != index.end || again.skip != index.skip || again.samples != index.samples ||
        again.breaks.size() != index.breaks.size() || again.random_access != index.random_access)
      std::abort();
    if (below(8)) {
      if (below(2)) {  // points of another file, or of none: with a checksum that fits, or not
        index.points[below(index.points.size())] += static_cast<int64_t>(below(9)) - 4;
        index.frames += static_cast<int64_t>(below(3)) - 1;
        index.skip = static_cast<int64_t>(below(5'000));
        index.random_access = below(4) != 0;
        if (below(2)) index.breaks.clear();
        for (uint64_t i = below(3); i > 0 && index.breaks.empty(); --i)
          index.breaks.push_back({static_cast<int64_t>(below(100)), static_cast<int64_t>(below(3'000)),
                                  static_cast<int64_t>(below(513)) - 1});
        if (index.frames < 1) index.frames = 1;
        points = headrace::pack(index);
      } else {
        points[below(points.size())] ^= static_cast<char>(1u << below(8));
      }
    }
    if (n % 4) continue;
    const std::vector<unsigned char> whole = f;
    for (uint64_t i = below(40); i > 0; --i) f[below(f.size())] = static_cast<unsigned char>(next());
    read_spans(below(2) ? f : whole, points, argv[3]);
  }
  std::printf("%ld files, %ld understood\n", count, understood);
  return 0;
}
