// Readers, a planner and a fetcher share a FetchedStore, under ThreadSanitizer. Prints how many reads were right, how
// many were wrong, and how many ended with the store's closing or a failed range.
#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <poll.h>

#include "sources/decode_error.h"
#include "sources/fetched_store.h"

using headrace::FetchedStore;

namespace {

constexpr int64_t SIZE = 1 << 20;
const std::string KEYS[] = {std::to_string(SIZE) + " a", std::to_string(SIZE) + " b"};

char byte_at(int64_t offset) { return static_cast<char>(offset * 2654435761u >> 13); }

}  // namespace

int main() {
  const auto object = std::make_shared<std::vector<char>>(SIZE);
  for (int64_t i = 0; i < SIZE; ++i) (*object)[static_cast<size_t>(i)] = byte_at(i);
  const auto store = std::make_shared<FetchedStore>(200'000, 1 << 17);
  std::atomic<int64_t> right{0}, wrong{0}, failed{0};
  std::atomic<bool> done{false};

  const auto give = [&](const std::string& key, FetchedStore::Range range, std::mt19937& chance) {
    if (chance() % 50 == 0) {
      store->fail(key, range.offset, "IO", "a fault");
      return;
    }
    auto copy = std::make_shared<std::vector<char>>(object->begin() + range.offset,
                                                    object->begin() + range.offset + range.count);
    store->give(key, range, FetchedStore::Data(copy, copy->data()));
  };
  std::thread fetcher([&] {
    std::mt19937 chance(0);
    while (!done) {
      pollfd ready{store->descriptor(), POLLIN, 0};
      ::poll(&ready, 1, 5);
      for (const auto& one : store->take()) give(one.key, one.range, chance);
    }
  });
  std::vector<std::thread> readers;
  for (unsigned seed = 1; seed <= 4; ++seed)
    readers.emplace_back([&, seed] {
      std::mt19937 chance(seed);
      std::vector<char> to(100'000);
      for (int i = 0; i < 400; ++i) {
        const std::string& key = KEYS[chance() % 2];
        const int64_t offset = chance() % SIZE;
        const int64_t count = std::min<int64_t>(SIZE - offset, 1 + chance() % 100'000);
        const bool announced = chance() % 2;
        std::vector<FetchedStore::Range> wanted;
        if (announced) wanted = store->expect(key, {offset, count}, 30'000, chance() % 2);
        for (const auto& range : wanted)
          if (chance() % 4) give(key, range, chance);  // else it becomes urgent
        std::vector<char> held(static_cast<size_t>(count));
        const int64_t there = headrace::HeldObjects(store).open(key)->read(offset, held.data(), count);
        for (int64_t j = 0; j < there; ++j)
          if (held[static_cast<size_t>(j)] != byte_at(offset + j)) wrong++;
        try {
          const auto bytes = store->open(key);
          bytes->at_hand(offset, count);
          const int64_t got = bytes->read(offset, to.data(), count);
          bool same = got == count;
          for (int64_t j = 0; same && j < count; ++j) same = to[static_cast<size_t>(j)] == byte_at(offset + j);
          (same ? right : wrong)++;
        } catch (const headrace::DecodeError&) {
          failed++;
        }
        if (announced) store->release(key, {offset, count});
        if (seed == 1 && i == 390) store->close();
      }
    });
  for (auto& reader : readers) reader.join();
  done = true;
  fetcher.join();
  std::printf("%lld %lld %lld\n", static_cast<long long>(right), static_cast<long long>(wrong),
              static_cast<long long>(failed));
  return 0;
}
