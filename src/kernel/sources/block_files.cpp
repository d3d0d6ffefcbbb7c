#include "sources/block_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "sources/crc32.h"
#include "sources/little_endian.h"

namespace headrace {
namespace {

constexpr int64_t BLOCK = BlockFiles::BLOCK, RECORD = BlockFiles::RECORD;
constexpr int64_t MOST_BLOCKS = 256;  // that are read by one call of the system

uint32_t word_at(const unsigned char* p) { return static_cast<uint32_t>(little_endian(p, 4)); }

void put_word(unsigned char* p, uint32_t word) {
  for (int i = 0; i < 4; ++i) p[i] = static_cast<unsigned char>(word >> 8 * i);
}

// The name of an object's files in its key: SIZE SOURCE NAME ...; empty if there is none.
std::string name_in(const std::string& key) {
  const size_t size_end = key.find(' ');
  const size_t source_end = size_end == std::string::npos ? size_end : key.find(' ', size_end + 1);
  if (source_end == std::string::npos) return "";
  const size_t end = key.find(' ', source_end + 1);
  const std::string name = key.substr(source_end + 1, end == std::string::npos ? end : end - source_end - 1);
  return name == "-" ? "" : name;
}

}  // namespace

struct BlockFiles::Object {
  explicit Object(int64_t object_size)
      : size(object_size), checksums(static_cast<size_t>((size + BLOCK - 1) / BLOCK)) {}
  ~Object() { close_files(); }

  void close_files() {
    for (int* file : {&data, &records}) {
      if (*file >= 0) ::close(*file);
      *file = -1;
    }
  }

  int64_t blocks() const { return static_cast<int64_t>(checksums.size()); }
  int64_t bytes_of(int64_t block) const { return std::min(BLOCK, size - block * BLOCK); }
  bool is_there(int64_t block) const { return checksums[static_cast<size_t>(block)].has_value(); }
  // Numbers of the blocks with bytes of a range within the object.
  Span blocks_of(Span range) const {
    const int64_t begin = std::max<int64_t>(0, range.begin), end = std::min(size, range.end);
    return begin < end ? Span{begin / BLOCK, (end - 1) / BLOCK + 1} : Span{0, 0};
  }
  // The bytes of some blocks.
  Span bytes_of(Span some, Span range, bool whole) const {
    const Span all{some.begin * BLOCK, std::min(size, some.end * BLOCK)};
    return whole ? all : Span{std::max(all.begin, range.begin), std::min(all.end, range.end)};
  }

  // Open the files, if there are any. Returns an error of the system, or 0.
  int open_files(const std::string& path, bool create) {
    const int flags = O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0);
    data = ::open((path + ".data").c_str(), flags, 0666);
    if (data >= 0) records = ::open((path + ".blocks").c_str(), flags | O_APPEND, 0666);
    if (records >= 0) {
      struct stat about;
      if (::fstat(records, &about) != 0) return errno;
      if (about.st_size % RECORD)  // a record that was torn: those behind it would be shifted
        (void)!::ftruncate(records, about.st_size - about.st_size % RECORD);
      read_records();
      return 0;
    }
    const int error = errno;
    close_files();
    return error == ENOENT ? 0 : error;
  }

  // Read the records that were appended since.
  void read_records() {
    struct stat about;
    if (::fstat(records, &about) != 0) return;
    const int64_t more = (about.st_size - records_read) / RECORD * RECORD;
    if (more <= 0) return;
    std::vector<unsigned char> some(static_cast<size_t>(more));
    const ssize_t got = ::pread(records, some.data(), some.size(), records_read);
    for (int64_t at = 0; at + RECORD <= got; at += RECORD) {
      const unsigned char* record = some.data() + at;
      const uint32_t block = word_at(record);
      if (crc32(record, 8) == word_at(record + 8) && block < checksums.size()) checksums[block] = word_at(record + 4);
      records_read += RECORD;
    }
  }

  const int64_t size;
  std::mutex writing;  // is taken before `mutex`, and held while a block is written
  std::mutex mutex;    // of what follows
  int data = -1, records = -1;
  int64_t records_read = 0;
  std::vector<std::optional<uint32_t>> checksums;  // by block
};

void BlockFiles::note(int error) {
  int none = 0;
  error_.compare_exchange_strong(none, error);
  admits_ = false;
}

// The object of a key, opened; null if it has no files.
BlockFiles::Found BlockFiles::find(const std::string& key, int64_t size, bool create) {
  const std::string name = name_in(key);
  if (name.size() < 3 || size <= 0) return nullptr;
  Found found;
  std::vector<Found> dropped;  // closed after the lock
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (closed_) return nullptr;
    const auto it = objects_.find(name);
    if (it != objects_.end()) {
      recent_.splice(recent_.end(), recent_, it->second);
      found = it->second->second;
    } else {
      found = std::make_shared<Object>(size);
      objects_[name] = recent_.emplace(recent_.end(), name, found);
      known_blocks_ += found->blocks();
      while (recent_.size() > 1 && (recent_.size() > OPEN_OBJECTS || known_blocks_ > KNOWN_BLOCKS)) {
        known_blocks_ -= recent_.front().second->blocks();
        dropped.push_back(std::move(recent_.front().second));
        objects_.erase(recent_.front().first);
        recent_.pop_front();
      }
    }
  }
  const std::lock_guard<std::mutex> guard(found->mutex);
  if (found->data < 0) {
    const int error = found->open_files(folder_ + "/" + name.substr(0, 3) + "/" + name, create);
    if (error) note(error);
  }
  return found->data < 0 ? nullptr : found;
}

BlockFiles::Span BlockFiles::absent(const std::string& key, int64_t size, Span range) {
  const Found object = find(key, size);
  if (!object) {
    const Object none(size);
    const Span all = none.blocks_of(range);
    return none.bytes_of(all, range, admits() && !name_in(key).empty());
  }
  const std::lock_guard<std::mutex> guard(object->mutex);
  for (const bool again : {false, true}) {
    Span some = object->blocks_of(range);
    while (some.begin < some.end && object->is_there(some.begin)) ++some.begin;
    while (some.begin < some.end && object->is_there(some.end - 1)) --some.end;
    if (some.begin == some.end) return {range.begin, range.begin};
    if (again) return object->bytes_of(some, range, admits());
    object->read_records();  // of other processes
  }
  return range;
}

BlockFiles::Span BlockFiles::gap(const std::string& key, int64_t size, int64_t at, Span range) {
  const Found object = find(key, size);
  if (!object) return absent(key, size, range);
  const std::lock_guard<std::mutex> guard(object->mutex);
  const Span all = object->blocks_of(range);
  Span some{at / BLOCK, at / BLOCK + 1};
  while (some.begin > all.begin && !object->is_there(some.begin - 1)) --some.begin;
  while (some.end < all.end && !object->is_there(some.end)) ++some.end;
  return object->bytes_of(some, range, admits());
}

int64_t BlockFiles::ready(const std::string& key, int64_t size, int64_t offset, int64_t count) {
  const Found object = find(key, size);
  if (!object) return 0;
  const std::lock_guard<std::mutex> guard(object->mutex);
  const Span some = object->blocks_of({offset, offset + count});
  int64_t block = some.begin;
  while (block < some.end && object->is_there(block)) ++block;
  return std::max<int64_t>(0, std::min({offset + count, block * BLOCK, size}) - offset);
}

int64_t BlockFiles::read(const std::string& key, int64_t size, int64_t offset, char* to, int64_t count,
                         LastBlock* last) {
  if (last->count && offset >= last->offset && offset < last->offset + last->count) {
    const int64_t some = std::min(count, last->offset + last->count - offset);
    std::memcpy(to, last->bytes.get() + (offset - last->offset), static_cast<size_t>(some));
    bytes_read_ += some;
    return some;
  }
  const Found object = find(key, size);
  if (!object) return 0;
  // As many blocks as are there, and their checksums. All but the last one go to `to`, what the first one has before
  // the range to `before`, and the last one to `last` if the range has not all of it.
  uint32_t expected[MOST_BLOCKS];
  const Span wanted = object->blocks_of({offset, offset + count});
  const int64_t first = wanted.begin;
  int64_t blocks = 0;
  {
    const std::lock_guard<std::mutex> guard(object->mutex);
    while (blocks < std::min(MOST_BLOCKS, wanted.end - first) && object->is_there(first + blocks)) {
      expected[blocks] = *object->checksums[static_cast<size_t>(first + blocks)];
      ++blocks;
    }
  }
  if (blocks == 0) return 0;
  const int64_t end = std::min({offset + count, (first + blocks) * BLOCK, size});
  const int64_t last_at = (first + blocks - 1) * BLOCK, last_bytes = object->bytes_of(first + blocks - 1);
  const bool has_last = end < last_at + last_bytes;
  if (has_last) {
    if (!last->bytes) last->bytes = std::make_unique<char[]>(static_cast<size_t>(BLOCK));
    last->count = 0;
  }
  thread_local std::unique_ptr<char[]> before;
  const int64_t skipped = has_last && blocks == 1 ? 0 : offset - first * BLOCK;
  if (skipped && !before) before = std::make_unique<char[]>(static_cast<size_t>(BLOCK));
  const int64_t direct = (has_last ? last_at : end) - (first * BLOCK + skipped);
  iovec parts[3];
  int used = 0;
  const auto add = [&](char* at, int64_t some) {
    if (some > 0) parts[used++] = {at, static_cast<size_t>(some)};
  };
  add(before.get(), skipped);
  add(to, direct);
  if (has_last) add(last->bytes.get(), last_bytes);
  ssize_t got;
  do got = ::preadv(object->data, parts, used, first * BLOCK);
  while (got < 0 && errno == EINTR);
  int64_t right = 0;  // blocks
  for (; right < blocks; ++right) {
    const int64_t at = right * BLOCK, some = object->bytes_of(first + right);
    if (at + some > got) break;
    uint32_t checksum;
    if (has_last && right == blocks - 1)
      checksum = crc32(last->bytes.get(), static_cast<size_t>(some));
    else if (right == 0 && skipped)
      checksum = crc32(to, static_cast<size_t>(some - skipped), crc32(before.get(), static_cast<size_t>(skipped)));
    else
      checksum = crc32(to + (at - skipped), static_cast<size_t>(some));
    if (checksum != expected[right]) break;
  }
  if (right < blocks) {
    const std::lock_guard<std::mutex> guard(object->mutex);
    auto& checksum = object->checksums[static_cast<size_t>(first + right)];
    if (checksum == expected[right]) checksum.reset();
  } else if (has_last) {
    last->offset = last_at;
    last->count = last_bytes;
    const int64_t from = std::max(offset, last_at);
    std::memcpy(to + (from - offset), last->bytes.get() + (from - last_at), static_cast<size_t>(end - from));
  }
  const int64_t done = std::max<int64_t>(0, std::min(end, (first + right) * BLOCK) - offset);
  bytes_read_ += done;
  return done;
}

bool BlockFiles::open(const std::string& key, int64_t size, bool create) {
  return find(key, size, create) != nullptr;
}

std::vector<int64_t> BlockFiles::absent_blocks(const std::string& key, int64_t size, Span range) {
  std::vector<int64_t> sizes;
  const Found object = find(key, size);
  if (!object) return sizes;
  const std::lock_guard<std::mutex> guard(object->mutex);
  for (int64_t block = (range.begin + BLOCK - 1) / BLOCK; block < object->blocks(); ++block) {
    const int64_t some = object->bytes_of(block);
    if (block * BLOCK + some > range.end) break;
    if (!object->is_there(block)) sizes.push_back(some);
  }
  return sizes;
}

int64_t BlockFiles::write(const std::string& key, int64_t size, Span range, const char* data, int64_t blocks) {
  const Found object = find(key, size);
  if (!object) return 0;
  int64_t written = 0;
  const std::lock_guard<std::mutex> alone(object->writing);
  for (int64_t block = (range.begin + BLOCK - 1) / BLOCK; blocks > 0 && block < object->blocks(); ++block) {
    const int64_t at = block * BLOCK, some = object->bytes_of(block);
    if (at + some > range.end) break;
    {
      const std::lock_guard<std::mutex> guard(object->mutex);
      if (object->is_there(block)) continue;
    }
    const char* from = data + (at - range.begin);
    const auto failed = [&](ssize_t done, int64_t asked) {
      if (done != asked) note(done < 0 ? errno : ENOSPC);
      return done != asked;
    };
    if (failed(::pwrite(object->data, from, static_cast<size_t>(some), at), some)) break;
    const uint32_t checksum = crc32(from, static_cast<size_t>(some));
    unsigned char record[RECORD];
    put_word(record, static_cast<uint32_t>(block));
    put_word(record + 4, checksum);
    put_word(record + 8, crc32(record, 8));
    // One call: with O_APPEND, records of several processes do not mix.
    if (failed(::write(object->records, record, RECORD), RECORD)) break;
    const std::lock_guard<std::mutex> guard(object->mutex);
    object->checksums[static_cast<size_t>(block)] = checksum;
    written += some + RECORD;
    --blocks;
  }
  return written;
}

void BlockFiles::close() {
  std::list<std::pair<std::string, Found>> dropped;  // closed after the lock
  const std::lock_guard<std::mutex> guard(mutex_);
  closed_ = true;
  objects_.clear();
  dropped.swap(recent_);
}

}  // namespace headrace
