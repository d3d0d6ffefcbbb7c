#include "sources/place.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "sources/decode_error.h"
#include "sources/pieces.h"

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

// A part of other bytes.
class Part : public Bytes {
 public:
  Part(std::unique_ptr<Bytes> whole, int64_t offset, int64_t length)
      : whole_(std::move(whole)),
        offset_(offset),
        size_(length >= 0 ? length : std::max<int64_t>(0, whole_->size() - offset)) {}
  int64_t size() const override { return size_; }
  int64_t read(int64_t offset, void* to, int64_t count) const override {
    if (offset < 0 || offset >= size_) return 0;
    return whole_->read(offset_ + offset, to, std::min(count, size_ - offset));
  }
  int64_t ready(int64_t offset, int64_t count) const override {
    return whole_->ready(offset_ + offset, count);
  }

 private:
  const std::unique_ptr<Bytes> whole_;
  const int64_t offset_, size_;
};

std::unique_ptr<Bytes> part_of(std::unique_ptr<Bytes> whole, const Place& place) {
  if (place.pieces) return open_pieces(std::move(whole), place.offset, place.length, *place.pieces);
  if (place.offset == 0 && place.length < 0) return whole;
  return std::make_unique<Part>(std::move(whole), place.offset, place.length);
}

}  // namespace

std::unique_ptr<Bytes> open_bytes(const Place& place, int64_t least_bytes) {
  if (place.store) {
    auto bytes = part_of(place.store->open(place.path), place);
    if (least_bytes > 0 && bytes->size() < least_bytes) throw_shorter(bytes->size(), least_bytes);
    return bytes;
  }
  const int descriptor = ::open(place.path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw_system_error(errno);
  auto file = std::make_unique<File>(descriptor);
  const int64_t stored = place.pieces ? stored_bytes(*place.pieces, place.length) : place.length;
  const int64_t least = place.offset + (place.pieces ? stored : std::max(stored, least_bytes));
  if (file->shorter_than(least)) throw_shorter(file->size(), least);
  return part_of(std::move(file), place);
}

}  // namespace headrace
