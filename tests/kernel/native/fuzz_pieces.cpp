// Reads bytes that are stored in pieces, by good and by damaged maps, and compares them with the whole in memory.
//
//   fuzz_pieces SEED COUNT
//
// Prints "COUNT maps N good" and exits 0, unless a sanitizer or a check ends the process. Built and run by
// tests/storage/test_places.py.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sources/decode_error.h"
#include "sources/pieces.h"
#include "fuzz.h"

namespace {

using fuzz::below;

// Bytes of which only those before `there` are ready.
class Stored : public headrace::Bytes {
 public:
  Stored(const std::vector<unsigned char>& bytes, int64_t there) : memory_(bytes), there_(there) {}
  int64_t size() const override { return memory_.size(); }
  int64_t read(int64_t offset, void* to, int64_t count) const override { return memory_.read(offset, to, count); }
  int64_t ready(int64_t offset, int64_t count) const override {
    return std::max<int64_t>(0, std::min(count, there_ - offset));
  }

 private:
  const fuzz::Memory memory_;
  const int64_t there_;
};

void put(std::string* to, int64_t value) {
  for (int i = 0; i < 8; ++i) to->push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
}

void check(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  fuzz::state = std::strtoull(argv[1], nullptr, 10);
  const long count = std::atol(argv[2]);
  long good = 0;
  for (long i = 0; i < count; ++i) {
    std::vector<unsigned char> whole, stored(below(50), 7), there;
    const auto offset = static_cast<int64_t>(stored.size());
    std::vector<bool> is_ready;
    std::string map;
    const int64_t ready_stop = static_cast<int64_t>(below(300));
    for (uint64_t piece = below(12); piece > 0; --piece) {
      for (uint64_t n = below(20); n > 0; --n) whole.push_back(0), is_ready.push_back(true);
      const uint64_t bytes = below(40);
      put(&map, static_cast<int64_t>(whole.size()));
      put(&map, static_cast<int64_t>(bytes));
      for (uint64_t n = 0; n < bytes; ++n) {
        is_ready.push_back(static_cast<int64_t>(stored.size()) < ready_stop);
        whole.push_back(static_cast<unsigned char>(1 + below(255)));
        stored.push_back(whole.back());
      }
    }
    for (uint64_t n = below(20); n > 0; --n) whole.push_back(0), is_ready.push_back(true);
    const auto size = static_cast<int64_t>(whole.size());
    const bool damaged = below(3) == 0;
    int64_t claimed = size;
    if (damaged) {
      if (below(4) == 0) claimed = static_cast<int64_t>(below(static_cast<uint64_t>(size) + 1)) - 1;
      if (!map.empty()) map[below(map.size())] ^= static_cast<char>(1u << below(8));
      if (below(4) == 0) map.resize(below(map.size() + 1));
    }
    const bool cut = below(5) == 0;
    if (cut) stored.resize(below(stored.size() + 1));
    try {
      const int64_t bytes = headrace::stored_bytes(map, claimed);
      const auto opened = headrace::open_pieces(std::make_unique<Stored>(stored, ready_stop), offset, claimed, map);
      check(bytes >= 0 && opened->size() == claimed);
      for (int n = 0; n < 20; ++n) {
        const auto at = static_cast<int64_t>(below(static_cast<uint64_t>(size) + 4));
        const auto wanted = static_cast<int64_t>(below(120));
        std::vector<unsigned char> to(static_cast<size_t>(wanted));
        const int64_t got = opened->read(at, to.data(), wanted);
        check(got >= 0 && got <= wanted);
        const int64_t ready = opened->ready(at, wanted);
        check(ready >= 0 && ready <= wanted);
        if (damaged) continue;
        const int64_t left = std::max<int64_t>(0, std::min(wanted, size - at));
        check(cut ? got <= left : got == left);
        for (int64_t k = 0; k < got; ++k) check(to[static_cast<size_t>(k)] == whole[static_cast<size_t>(at + k)]);
        int64_t expected = 0;
        while (expected < left && is_ready[static_cast<size_t>(at + expected)]) ++expected;
        check(ready == (expected == left ? wanted : expected));
      }
      ++good;
    } catch (const headrace::DecodeError&) {
      check(damaged);
    }
  }
  std::printf("%ld maps %ld good\n", count, good);
  return 0;
}
