// FetchedStore: objects whose bytes somebody else fetches: an event loop in Python, from an object store.
//
// Readers are native and block until their bytes are there. The event loop is told what is wanted by a
// descriptor that becomes readable. Bytes come in ranges:
// - Bytes that `files`, the disk cache, has are read from there by whoever needs them. Nobody is asked for them.
// - A *planned* range is announced by `expect`, before a reader needs it, and is kept until `release`; with
//   `keep`, it then stays like a range on demand.
// - A range *on demand* is what a reader wants and nobody has announced. It is kept until newer ones take its
//   place.
//
// A key is the object's size in bytes as decimal digits, a space, and anything that names the object. So nothing
// has to be kept for an object of which no byte is held.
//
// Guarantees
// - Thread-safe. No lock is held while bytes are copied.
// - What is announced or wanted twice is asked for once, as long as it is held or under way.
// - A reader waits only for a range that `take` or `expect` has returned. It is woken by `give`, `fail` and `close`.
// - A reader in the thread that handles signals looks for them while it waits.
// - A reader that waits for a planned range makes it urgent: `take` returns it once more.
// - After `close`, every read throws. In a process that was forked after the store was made, every read throws.
// - Bytes on demand that are held are at most `cached_bytes`, but for those that a reader is waiting for.
//
// Units: offsets, sizes and counts are bytes. Not on Windows.
#pragma once
#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sources/block_files.h"
#include "sources/place.h"

namespace headrace {

// Seconds that this thread has waited for bytes of any FetchedStore.
double store_wait_s();

// The size that a key begins with. Throws std::invalid_argument if it does not.
int64_t object_size(const std::string& key);

// How a reader that waits notices signals: a thread that waits in the kernel would not run their handlers.
struct SignalHandling {
  bool (*is_here)();  // whether handlers run in this thread
  bool (*run)();      // run those of signals that have arrived; return whether to give up
};

class FetchedStore : public ByteStore, public std::enable_shared_from_this<FetchedStore> {
 public:
  struct Range {
    int64_t offset, count;
  };
  struct Request {
    std::string key;
    Range range;
    bool planned;  // whether `expect` has returned it before
  };
  struct Ended {
    Range range;
    bool awaited;  // whether a reader that had not announced it waits for it: it has to be fetched all the same
  };
  using Data = std::shared_ptr<const char>;

  // `ahead` is the most that is asked for at once on demand. `files` and `signals` may be null; a signal that says to
  // give up closes the store. Throws std::system_error.
  FetchedStore(int64_t cached_bytes, int64_t ahead, std::shared_ptr<BlockFiles> files = nullptr,
               const SignalHandling* signals = nullptr);
  ~FetchedStore() override;
  FetchedStore(const FetchedStore&) = delete;
  FetchedStore& operator=(const FetchedStore&) = delete;

  // Throws std::invalid_argument if the key does not begin with a size.
  std::unique_ptr<Bytes> open(const std::string& key) override;

  // Announce a use of a range. Return the parts of it, each of at most `most` bytes, that the caller has to fetch.
  // They may begin before it or end behind it, to be whole blocks of the disk cache.
  std::vector<Range> expect(const std::string& key, Range range, int64_t most, bool keep = false);
  // Announce a use of a range of which the bytes are there, unless they are held already.
  void hold(const std::string& key, Range range, const Data& data);
  // End a use of a range. Return the planned parts that nobody uses any more, fetched or not.
  std::vector<Ended> release(const std::string& key, Range range);
  // The bytes of a range that was asked for.
  void give(const std::string& key, Range range, Data data);
  // Reads of the range throw DecodeError with this code and message.
  void fail(const std::string& key, int64_t offset, const std::string& code, const std::string& message);

  // How many of the bytes from the first one on are there, in memory or in `files`: to read these, nothing is waited for.
  int64_t held(const std::string& key, Range range);

  // Whether a range that begins here was asked for and is not there.
  bool wants(const std::string& key, int64_t offset) const;

  // Becomes readable when `take` has something to return.
  int descriptor() const { return pipe_[0]; }
  std::vector<Request> take();

  void close();

  int64_t held_bytes() const;       // that are planned or on demand
  int64_t most_held_bytes() const;  // the maximum so far

 private:
  friend class FetchedBytes;
  friend class HeldObjects;
  struct Extent {
    int64_t count = 0;
    Data data;             // null until it is there
    std::string code, message;
    bool failed = false;
    bool on_demand = false;
    bool keep = false;
    bool urgent = false;   // whether `take` has returned it
    bool listed = false;   // whether it stands in `recent_`
    int64_t uses = 0;      // that are announced and not released
    int64_t waiting = 0;   // readers
    std::list<std::pair<std::string, int64_t>>::iterator place;
  };
  using Extents = std::map<int64_t, Extent>;
  // Where a reader that goes on from one miss to the next stands.
  struct Stream {
    int64_t asked_to = -1;  // the end of what was asked for
    int64_t unit = 0;       // bytes that are asked for at once
    int64_t misses = 0;     // one behind the other
    BlockFiles::LastBlock block;
  };

  int64_t ready(const std::string& key, int64_t size, int64_t offset, int64_t count);
  int64_t read_held(const std::string& key, Range range, char* to, Stream* stream);
  int64_t read(const std::string& key, int64_t size, int64_t offset, char* to, int64_t count, Stream* stream);
  std::vector<Range> announce(const std::string& key, Range range, BlockFiles::Span absent, int64_t most, bool keep);
  Extents::iterator find(Extents& extents, int64_t offset);
  void ask(const std::string& key, Extents& extents, int64_t size, int64_t offset, int64_t stop, int64_t before = 0);
  void ask_for_miss(const std::string& key, Extents& extents, int64_t size, int64_t at, int64_t count,
                    Stream* stream);
  void notify(const std::string& key, int64_t offset, const Extent& extent);
  void erase(const std::string& key, Extents& extents, Extents::iterator it, std::vector<Data>* dropped);
  void remember(const std::string& key, int64_t offset, Extent& extent, std::vector<Data>* dropped);
  void check_open() const;
  void wait_for(Extent& extent, std::unique_lock<std::mutex>& lock);

  const int64_t cached_bytes_, ahead_;
  const std::shared_ptr<BlockFiles> files_;
  const SignalHandling* const signals_;
  const pid_t process_;
  int pipe_[2];
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<std::string, Extents> objects_;
  std::list<std::pair<std::string, int64_t>> recent_;  // on demand and held: the oldest first
  int64_t recent_bytes_ = 0, held_ = 0, most_held_ = 0;
  std::vector<Request> requests_;
  bool closed_ = false;
};

// The objects of a FetchedStore, as far as they are there. A read asks for nothing and waits for nothing: it ends before
// the first byte that is not there.
class HeldObjects : public ByteStore {
 public:
  explicit HeldObjects(std::shared_ptr<FetchedStore> store) : store_(std::move(store)) {}
  std::unique_ptr<Bytes> open(const std::string& key) override;
  // The first byte of an object that was read and not there; -1 if there was none.
  int64_t missed() const { return missed_; }

 private:
  class Object;
  const std::shared_ptr<FetchedStore> store_;
  int64_t missed_ = -1;
};

}  // namespace headrace
