// BlockFiles: blocks of objects in files of a folder. The disk cache: `headrace.storage.DiskCache` says what may be
// written, and what the files are.
//
// The third word of an object's key is the name of its files. Without one, or if it is "-", it has none.
//
// Guarantees
// - Thread-safe. Nothing is read or written under a lock that readers of other objects wait for, and the GIL is not
//   needed.
// - A block is given only if its record is right, and its checksum is that of the bytes that were read, each time.
//   One that is not counts as absent from then on.
// - At most OPEN_OBJECTS objects are open, and checksums of KNOWN_BLOCKS are in memory (8 bytes each), beside those that
//   are in use.
// - An error of the system is kept, and after it `admits` is false.
//
// Units: offsets, sizes and counts are bytes; ranges are half-open. Not on Windows.
#pragma once
#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace headrace {

class BlockFiles {
 public:
  static constexpr int64_t BLOCK = 32 << 10;  // smaller ones cost time, larger ones bytes that nobody asked for. A guess
  static constexpr int64_t RECORD = 12;
  static constexpr size_t OPEN_OBJECTS = 128;
  static constexpr int64_t KNOWN_BLOCKS = 1 << 19;

  struct Span {
    int64_t begin, end;
  };
  // The last block that one reader has read a part of.
  struct LastBlock {
    int64_t offset = 0, count = 0;
    std::unique_ptr<char[]> bytes;
  };

  explicit BlockFiles(std::string folder) : folder_(std::move(folder)) {}
  BlockFiles(const BlockFiles&) = delete;
  BlockFiles& operator=(const BlockFiles&) = delete;

  // Whether more blocks may be kept, so that whole blocks should be fetched.
  bool admits() const { return admits_; }
  void stop_admitting() { admits_ = false; }

  // From the first block to the last one of a range that is absent: what to fetch. Empty if all are there. Whole
  // blocks if they may be kept, or else no more than the range.
  Span absent(const std::string& key, int64_t size, Span range);
  // The blocks around the one with `at`, taken as absent, that are absent and have bytes of the range. As above.
  Span gap(const std::string& key, int64_t size, int64_t at, Span range);
  // How many of the bytes at `offset` are in blocks that are there, up to the first one that is not.
  int64_t ready(const std::string& key, int64_t size, int64_t offset, int64_t count);
  // Read bytes up to the first block that is not there, or is damaged. Return how many.
  int64_t read(const std::string& key, int64_t size, int64_t offset, char* to, int64_t count, LastBlock* last);
  int64_t bytes_read() const { return bytes_read_; }

  // Whether the object has files. With `create`, they are made. Returns false, and sets `error`, if that fails.
  bool open(const std::string& key, int64_t size, bool create);
  // The sizes of the blocks that lie wholly in the range and are absent.
  std::vector<int64_t> absent_blocks(const std::string& key, int64_t size, Span range);
  // Write the first `blocks` of these, of the bytes of the range. Return how many bytes that took, with records.
  int64_t write(const std::string& key, int64_t size, Span range, const char* data, int64_t blocks);
  // Number of the system's first error, or 0.
  int error() const { return error_; }

  // Close all files, and open none again.
  void close();

 private:
  struct Object;
  using Found = std::shared_ptr<Object>;

  Found find(const std::string& key, int64_t size, bool create = false);
  void note(int error);

  const std::string folder_;
  std::atomic<bool> admits_{true};
  std::atomic<int> error_{0};
  std::atomic<int64_t> bytes_read_{0};
  std::mutex mutex_;  // of what follows
  std::list<std::pair<std::string, Found>> recent_;  // by name, the oldest first
  std::unordered_map<std::string, std::list<std::pair<std::string, Found>>::iterator> objects_;
  int64_t known_blocks_ = 0;
  bool closed_ = false;
};

}  // namespace headrace
