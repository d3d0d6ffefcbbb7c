// FileIdentities: whether files are still those that they were when they were first read.
//
// A file that has another inode, is shorter, or has another time of change and the same size, was replaced. One that has
// grown is still being recorded.
//
// Guarantees: thread-safe; at most MOST files are known, of which the oldest is forgotten first.
//
// Units: sizes are bytes, times are nanoseconds. Not on Windows.
#pragma once
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>

namespace headrace {

class FileIdentities {
 public:
  static constexpr size_t MOST = 1 << 13;

  // Throw DecodeError CHANGED if the file is another one than at the first call. A file that cannot be asked about is
  // not checked: opening it says why.
  void check(const std::string& path);

 private:
  struct Identity {
    uint64_t device, inode;
    int64_t size, changed_ns;
    std::list<std::string>::iterator place;
  };

  std::mutex mutex_;
  std::unordered_map<std::string, Identity> known_;
  std::list<std::string> order_;  // the oldest first
};

}  // namespace headrace
