#include "sources/bytes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "sources/decode_error.h"

namespace headrace {
namespace {

class File : public Bytes {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {
    struct stat status;
    if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) return;
    size_ = status.st_size;
    regular_ = true;
  }
  ~File() override { ::close(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int64_t size() const override { return size_; }
  bool shorter_than(int64_t bytes) const { return regular_ && size_ < bytes; }
  int64_t read(int64_t offset, void* to, int64_t count) const override {
    int64_t done = 0;
    while (done < count) {
      const ssize_t got = ::pread(descriptor_, static_cast<char*>(to) + done,
                                  static_cast<size_t>(count - done), offset + done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return -1;
      if (got == 0) break;
      done += got;
    }
    return done;
  }

 private:
  int descriptor_;
  int64_t size_ = 0;
  bool regular_ = false;
};

}  // namespace

std::unique_ptr<Bytes> open_bytes(const std::string& path, int64_t least_bytes) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw_system_error(errno);
  auto file = std::make_unique<File>(descriptor);
  if (file->shorter_than(least_bytes)) throw_shorter(file->size(), least_bytes);
  return file;
}

}  // namespace headrace
