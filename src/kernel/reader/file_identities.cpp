#include "reader/file_identities.h"

#include <sys/stat.h>

#include "sources/decode_error.h"

namespace headrace {

void FileIdentities::check(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return;
#ifdef __APPLE__
  const timespec& changed = status.st_mtimespec;
#else
  const timespec& changed = status.st_mtim;
#endif
  const auto device = static_cast<uint64_t>(status.st_dev), inode = static_cast<uint64_t>(status.st_ino);
  const int64_t size = status.st_size, changed_ns = int64_t{changed.tv_sec} * 1'000'000'000 + changed.tv_nsec;
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto found = known_.find(path);
  if (found == known_.end()) {
    const auto place = order_.insert(order_.end(), path);
    known_.emplace(path, Identity{device, inode, size, changed_ns, place});
    if (known_.size() > MOST) {
      known_.erase(order_.front());
      order_.pop_front();
    }
    return;
  }
  Identity& known = found->second;
  const bool same_file = known.device == device && known.inode == inode;
  if (!same_file || size < known.size || (size == known.size && changed_ns != known.changed_ns))
    throw DecodeError("CHANGED", "the file was replaced while it was being read: scan again");
  known.size = size;
  known.changed_ns = changed_ns;
}

}  // namespace headrace
