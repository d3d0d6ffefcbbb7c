#include "sources/fetched_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <iterator>
#include <stdexcept>
#include <system_error>

#include "sources/decode_error.h"

namespace headrace {
namespace {

constexpr int64_t FIRST = 32 << 10;   // bytes that the first miss asks for: most headers are shorter. A guess
constexpr int64_t BEFORE = 24 << 10;  // and before them: who searches for a place often steps back a little. A guess
constexpr int64_t GROWTH = 4;        // how much more each miss asks for that goes on from the last one
constexpr std::chrono::milliseconds SIGNALS_AFTER(100);  // what a person takes for at once

thread_local double waited_s = 0;

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

int64_t object_size(const std::string& key) {
  int64_t size = 0;
  size_t i = 0;
  for (; i < key.size() && i < 18 && key[i] >= '0' && key[i] <= '9'; ++i) size = size * 10 + (key[i] - '0');
  if (i == 0 || i == key.size() || key[i] != ' ')
    throw std::invalid_argument("a key must begin with a size and a space");
  return size;
}

double store_wait_s() { return waited_s; }

class FetchedBytes : public Bytes {
 public:
  FetchedBytes(std::shared_ptr<FetchedStore> store, std::string key)
      : store_(std::move(store)), key_(std::move(key)), size_(object_size(key_)) {}
  int64_t size() const override { return size_; }
  int64_t read(int64_t offset, void* to, int64_t count) const override {
    if (offset < 0 || offset >= size_ || count <= 0) return 0;
    return store_->read(key_, size_, offset, static_cast<char*>(to), std::min(count, size_ - offset), &stream_);
  }

  int64_t ready(int64_t offset, int64_t count) const override {
    return store_->ready(key_, size_, offset, count);
  }

 private:
  std::shared_ptr<FetchedStore> store_;
  std::string key_;
  int64_t size_;
  mutable FetchedStore::Stream stream_;
};

FetchedStore::FetchedStore(int64_t cached_bytes, int64_t ahead, std::shared_ptr<BlockFiles> files,
                           const SignalHandling* signals)
    : cached_bytes_(cached_bytes),
      ahead_(std::max(ahead, FIRST)),
      files_(std::move(files)),
      signals_(signals),
      process_(getpid()) {
  if (::pipe(pipe_) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  for (const int end : pipe_) {
    ::fcntl(end, F_SETFD, FD_CLOEXEC);
    ::fcntl(end, F_SETFL, O_NONBLOCK);
  }
}

FetchedStore::~FetchedStore() {
  for (const int end : pipe_) ::close(end);
}

std::unique_ptr<Bytes> FetchedStore::open(const std::string& key) {
  return std::make_unique<FetchedBytes>(shared_from_this(), key);
}

void FetchedStore::check_open() const {
  if (closed_) throw DecodeError("IO", "the loader that fetches was closed");
}

// The extent that holds the byte at `offset`, or end().
FetchedStore::Extents::iterator FetchedStore::find(Extents& extents, int64_t offset) {
  auto it = extents.upper_bound(offset);
  if (it == extents.begin()) return extents.end();
  --it;
  return offset < it->first + it->second.count ? it : extents.end();
}

void FetchedStore::notify(const std::string& key, int64_t offset, const Extent& extent) {
  requests_.push_back({key, {offset, extent.count}, !extent.on_demand});
  if (requests_.size() > 1) return;
  const char byte = 0;
  // A pipe that is full is readable all the same.
  while (::write(pipe_[1], &byte, 1) < 0 && errno == EINTR) {
  }
}

// Ask for [offset, stop) and `before` bytes before it, up to what is there or under way already. The byte at `offset`
// is not.
void FetchedStore::ask(const std::string& key, Extents& extents, int64_t size, int64_t offset, int64_t stop,
                       int64_t before) {
  BlockFiles::Span wanted{std::max<int64_t>(0, offset - before), stop};
  if (files_) wanted = files_->gap(key, size, offset, wanted);
  const auto next = extents.lower_bound(offset);
  if (next != extents.end()) wanted.end = std::min(wanted.end, next->first);
  const auto last = next == extents.begin() ? extents.end() : std::prev(next);
  const int64_t free = last == extents.end() ? 0 : last->first + last->second.count;
  wanted.begin = std::max(free, wanted.begin);
  Extent extent;
  extent.count = wanted.end - wanted.begin;
  extent.on_demand = extent.urgent = true;
  const auto it = extents.emplace_hint(next, wanted.begin, std::move(extent));
  notify(key, it->first, it->second);
}

// Ask for what a reader wants at `at`. One that goes on from its last miss gets more each time.
void FetchedStore::ask_for_miss(const std::string& key, Extents& extents, int64_t size, int64_t at,
                                int64_t count, Stream* stream) {
  const bool goes_on = stream->misses > 0 && at >= stream->asked_to && at - stream->asked_to <= FIRST;
  stream->misses = goes_on ? stream->misses + 1 : 1;
  stream->unit = goes_on ? std::min(stream->unit * GROWTH, ahead_) : FIRST;
  stream->asked_to = std::min(size, at + std::max(count, stream->unit));
  ask(key, extents, size, at, stream->asked_to, goes_on ? 0 : BEFORE);
}

int64_t FetchedStore::read(const std::string& key, int64_t size, int64_t offset, char* to, int64_t count,
                           Stream* stream) {
  if (getpid() != process_)
    throw DecodeError("IO",
                      "a forked process cannot read from a store: start it by \"spawn\" or \"forkserver\"");
  std::vector<Data> dropped;  // released after the lock
  std::unique_lock<std::mutex> lock(mutex_);
  int64_t done = 0, not_in_files = -1;
  while (done < count) {
    check_open();
    const int64_t at = offset + done;
    if (files_ && at != not_in_files) {
      int64_t stop = offset + count;  // or where bytes are held or under way
      const auto object = objects_.find(key);
      if (object != objects_.end()) {
        if (find(object->second, at) != object->second.end())
          stop = at;
        else if (const auto next = object->second.lower_bound(at); next != object->second.end())
          stop = std::min(stop, next->first);
      }
      if (at < stop) {
        lock.unlock();
        const int64_t some = files_->read(key, size, at, to + done, stop - at, &stream->block);
        lock.lock();
        done += some;
        if (some == 0) not_in_files = at;
        continue;
      }
    }
    Extents& extents = objects_[key];
    auto it = find(extents, at);
    if (it == extents.end()) {
      ask_for_miss(key, extents, size, at, count - done, stream);
      it = find(extents, at);
    } else if (it->second.on_demand && stream->misses > 1 && it->second.data &&
               at >= stream->asked_to - stream->unit && at < stream->asked_to && stream->asked_to < size) {
      // Within the last part that was asked for: ask for the next one, to be there in time.
      const int64_t from = stream->asked_to;
      stream->unit = std::min(stream->unit * GROWTH, ahead_);
      stream->asked_to = std::min(size, from + stream->unit);
      if (find(extents, from) == extents.end() && !(files_ && files_->ready(key, size, from, 1)))
        ask(key, extents, size, from, stream->asked_to);
    }
    Extent& extent = it->second;
    if (!extent.data && !extent.failed) {
      if (!extent.urgent) {
        extent.urgent = true;
        notify(key, it->first, extent);
      }
      const double began = now_s();
      wait_for(extent, lock);
      waited_s += now_s() - began;
      check_open();
    }
    if (extent.failed) {
      const DecodeError error(extent.code, extent.message);
      if (extent.uses == 0 && extent.waiting == 0) erase(key, extents, it, &dropped);
      lock.unlock();
      throw error;
    }
    const int64_t skipped = at - it->first, some = std::min(count - done, extent.count - skipped);
    Data data = extent.data;
    if (extent.listed) recent_.splice(recent_.end(), recent_, extent.place);
    lock.unlock();
    std::memcpy(to + done, data.get() + skipped, static_cast<size_t>(some));
    done += some;
    data.reset();  // not under the lock: freeing what Python owns takes the GIL
    lock.lock();
  }
  lock.unlock();
  return done;
}

void FetchedStore::wait_for(Extent& extent, std::unique_lock<std::mutex>& lock) {
  const auto ended = [&] { return closed_ || extent.data || extent.failed; };
  ++extent.waiting;
  if (signals_ == nullptr || !signals_->is_here()) {
    changed_.wait(lock, ended);
  } else {
    while (!changed_.wait_for(lock, SIGNALS_AFTER, ended)) {
      lock.unlock();  // a handler may use this store, and runs under the GIL
      if (signals_->run()) close();
      lock.lock();
    }
  }
  --extent.waiting;
}

int64_t FetchedStore::read_held(const std::string& key, Range range, char* to, Stream* stream) {
  const int64_t size = object_size(key), count = std::min(range.count, size - range.offset);
  int64_t done = 0;
  while (range.offset >= 0 && done < count) {
    const int64_t at = range.offset + done;
    int64_t some = 0;
    Data data;
    const char* from = nullptr;
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      if (closed_) return 0;
      const auto object = objects_.find(key);
      if (object != objects_.end()) {
        const auto it = find(object->second, at);
        if (it != object->second.end() && it->second.data) {
          data = it->second.data;
          from = data.get() + (at - it->first);
          some = std::min(count - done, it->first + it->second.count - at);
        }
      }
    }
    if (from && to) std::memcpy(to + done, from, static_cast<size_t>(some));
    if (!from && files_)
      some = to ? files_->read(key, size, at, to + done, count - done, &stream->block)
                : files_->ready(key, size, at, count - done);
    if (some == 0) break;
    done += some;
  }
  return done;
}

int64_t FetchedStore::held(const std::string& key, Range range) { return read_held(key, range, nullptr, nullptr); }

class HeldObjects::Object : public Bytes {
 public:
  Object(HeldObjects* from, std::string key) : from_(from), key_(std::move(key)) {}
  int64_t size() const override { return object_size(key_); }
  int64_t read(int64_t offset, void* to, int64_t count) const override {
    const int64_t got = from_->store_->read_held(key_, {offset, count}, static_cast<char*>(to), &stream_);
    if (got < std::min(count, size() - offset) && from_->missed_ < 0) from_->missed_ = offset + got;
    return got;
  }
  int64_t ready(int64_t offset, int64_t count) const override { return from_->store_->held(key_, {offset, count}); }

 private:
  HeldObjects* const from_;  // which outlives what reads from it
  const std::string key_;
  mutable FetchedStore::Stream stream_;
};

std::unique_ptr<Bytes> HeldObjects::open(const std::string& key) { return std::make_unique<Object>(this, key); }

int64_t FetchedStore::ready(const std::string& key, int64_t size, int64_t offset, int64_t count) {
  int64_t at = offset;
  while (at < offset + count) {
    const int64_t before = at;
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      const auto object = objects_.find(key);
      if (object != objects_.end()) {
        for (auto it = find(object->second, at);
             it != object->second.end() && it->first <= at && at < offset + count; ++it)
          at = it->first + it->second.count;
      }
    }
    if (files_ && at < offset + count) at += files_->ready(key, size, at, offset + count - at);
    if (at == before) break;
  }
  return std::min(count, at - offset);
}

std::vector<FetchedStore::Range> FetchedStore::expect(const std::string& key, Range range, int64_t most,
                                                      bool keep) {
  const int64_t size = object_size(key), stop = std::min(range.offset + range.count, size);
  std::vector<Range> wanted;
  if (range.offset < 0 || range.offset >= stop) return wanted;
  BlockFiles::Span absent{range.offset, stop};
  if (files_) absent = files_->absent(key, size, absent);
  return announce(key, {range.offset, stop - range.offset}, absent, most, keep);
}

void FetchedStore::hold(const std::string& key, Range range, const Data& data) {
  for (const Range& part : announce(key, range, {range.offset, range.offset + range.count}, range.count, false))
    give(key, part, Data(data, data.get() + (part.offset - range.offset)));
}

// A use of a range, of which `absent` has to be fetched where it is not held.
std::vector<FetchedStore::Range> FetchedStore::announce(const std::string& key, Range range, BlockFiles::Span absent,
                                                        int64_t most, bool keep) {
  const int64_t size = object_size(key), stop = range.offset + range.count;
  std::vector<Range> wanted;
  const std::lock_guard<std::mutex> guard(mutex_);
  if (closed_) return wanted;
  Extents& extents = objects_[key];
  for (int64_t at = range.offset; at < stop;) {
    auto it = find(extents, at);
    if (it == extents.end()) {
      const auto next = extents.lower_bound(at);
      const int64_t free_to = next == extents.end() ? size : next->first;
      if (at < absent.begin || at >= absent.end) {  // it is in files
        at = std::min(free_to, at < absent.begin ? absent.begin : stop);
        continue;
      }
      // Whole blocks, though they begin before the range or end behind it.
      int64_t begin = at;
      if (at == range.offset) {
        const auto last = next == extents.begin() ? extents.end() : std::prev(next);
        begin = std::max(last == extents.end() ? 0 : last->first + last->second.count, absent.begin);
      }
      Extent extent;
      extent.count = std::min(std::min(free_to, absent.end) - begin, std::max(most, at + 1 - begin));
      extent.keep = keep;
      it = extents.emplace_hint(next, begin, std::move(extent));
      wanted.push_back({begin, it->second.count});
    }
    Extent& extent = it->second;
    if (extent.listed) {  // not dropped until it is released
      recent_.erase(extent.place);
      recent_bytes_ -= extent.count;
      extent.listed = false;
    }
    ++extent.uses;
    at = it->first + extent.count;
  }
  if (extents.empty()) objects_.erase(key);
  return wanted;
}

void FetchedStore::erase(const std::string& key, Extents& extents, Extents::iterator it,
                         std::vector<Data>* dropped) {
  Extent& extent = it->second;
  if (extent.listed) {
    recent_.erase(extent.place);
    recent_bytes_ -= extent.count;
  }
  if (extent.data) held_ -= extent.count;
  dropped->push_back(std::move(extent.data));
  extents.erase(it);
  if (extents.empty()) objects_.erase(key);
}

// Keep what was given on demand, and drop the oldest if there is too much.
void FetchedStore::remember(const std::string& key, int64_t offset, Extent& extent, std::vector<Data>* dropped) {
  extent.place = recent_.emplace(recent_.end(), key, offset);
  extent.listed = true;
  recent_bytes_ += extent.count;
  auto it = recent_.begin();
  while (recent_bytes_ > cached_bytes_ && it != recent_.end()) {
    const auto [old_key, old_offset] = *it++;
    const auto object = objects_.find(old_key);
    const auto old = object->second.find(old_offset);
    if (old->second.waiting == 0) erase(old_key, object->second, old, dropped);
  }
}

std::vector<FetchedStore::Ended> FetchedStore::release(const std::string& key, Range range) {
  std::vector<Ended> ended;
  std::vector<Data> dropped;
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto object = objects_.find(key);
  if (object == objects_.end()) return ended;
  const int64_t stop = range.offset + range.count;
  std::vector<int64_t> offsets;
  auto first = object->second.upper_bound(range.offset);
  if (first != object->second.begin()) --first;
  for (auto it = first; it != object->second.end() && it->first < stop; ++it)
    if (it->first + it->second.count > range.offset && it->second.uses > 0) offsets.push_back(it->first);
  for (const int64_t offset : offsets) {
    const auto found = objects_.find(key);
    const auto it = found->second.find(offset);
    Extent& extent = it->second;
    if (--extent.uses > 0) continue;
    if (!extent.on_demand) {
      ended.push_back({{offset, extent.count}, extent.waiting > 0 && !extent.data});
      if (extent.waiting == 0 && !(extent.keep && extent.data)) {
        erase(key, found->second, it, &dropped);
        continue;
      }
      extent.on_demand = true;
    }
    if (extent.data && !extent.listed) remember(key, offset, extent, &dropped);
  }
  return ended;
}

void FetchedStore::give(const std::string& key, Range range, Data data) {
  std::vector<Data> dropped{data};
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto object = objects_.find(key);
  if (object == objects_.end()) return;
  const auto it = object->second.find(range.offset);
  if (it == object->second.end() || it->second.count != range.count || it->second.data) return;
  Extent& extent = it->second;
  extent.failed = false;
  extent.data = std::move(data);
  held_ += extent.count;
  if (extent.on_demand && extent.uses == 0) remember(key, range.offset, extent, &dropped);
  most_held_ = std::max(most_held_, held_);
  changed_.notify_all();
}

void FetchedStore::fail(const std::string& key, int64_t offset, const std::string& code,
                        const std::string& message) {
  std::vector<Data> dropped;
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto object = objects_.find(key);
  if (object == objects_.end()) return;
  const auto it = object->second.find(offset);
  if (it == object->second.end() || it->second.data) return;
  Extent& extent = it->second;
  extent.failed = true;
  extent.code = code;
  extent.message = message;
  if (extent.uses == 0 && extent.waiting == 0) erase(key, object->second, it, &dropped);
  changed_.notify_all();
}

bool FetchedStore::wants(const std::string& key, int64_t offset) const {
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto object = objects_.find(key);
  if (object == objects_.end()) return false;
  const auto it = object->second.find(offset);
  return it != object->second.end() && !it->second.data && !it->second.failed;
}

std::vector<FetchedStore::Request> FetchedStore::take() {
  char bytes[64];
  while (::read(pipe_[0], bytes, sizeof bytes) > 0) {
  }
  std::vector<Request> requests;
  const std::lock_guard<std::mutex> guard(mutex_);
  requests.swap(requests_);
  return requests;
}

void FetchedStore::close() {
  std::unordered_map<std::string, Extents> dropped;
  const std::lock_guard<std::mutex> guard(mutex_);
  closed_ = true;
  bool waits = false;
  for (const auto& object : objects_)
    for (const auto& extent : object.second) waits = waits || extent.second.waiting > 0;
  changed_.notify_all();
  if (waits) return;  // readers still refer to what they wait for
  dropped.swap(objects_);
  recent_.clear();
  recent_bytes_ = held_ = 0;
}

int64_t FetchedStore::held_bytes() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return held_;
}

int64_t FetchedStore::most_held_bytes() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return most_held_;
}

}  // namespace headrace
