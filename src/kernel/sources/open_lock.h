// OpenLock: which opens of libsndfile are under way, so that a failed one can be repeated alone.
//
// libsndfile keeps the reason why an open failed in memory that the whole process shares, and every open
// overwrites it, a successful one too. So opens share this lock, and an open that failed is repeated while it
// holds the lock alone: then the reason that libsndfile gives is its own.
//
// Guarantees
// - Opens that succeed never wait for each other.
// - No open waits for more than PATIENCE_S for one that hangs, such as on a network that is gone: that one
//   loses its share of the lock, and if it was alone, its reason is not used.
// - A child process that was forked while an open was under way begins with a free lock.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace headrace {

class OpenLock {
 public:
  static constexpr double PATIENCE_S = 1;

  // The lock of this process.
  static OpenLock& of_process();

  // Holds a share of the lock, or all of it.
  class Hold {
   public:
    enum Kind { SHARED, ALONE };
    Hold(OpenLock& lock, Kind kind) : lock_(lock), kind_(kind), generation_(lock.acquire(kind)) {}
    ~Hold() { lock_.release(kind_, generation_); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

    // Whether nobody has lost patience with this hold.
    bool still_holds() const { return lock_.is_current(generation_); }

   private:
    OpenLock& lock_;
    const Kind kind_;
    const uint64_t generation_;
  };

 private:
  uint64_t acquire(Hold::Kind kind);
  void release(Hold::Kind kind, uint64_t generation);
  bool is_current(uint64_t generation);

  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t generation_ = 0;  // changes when the holders lose the lock
  int64_t sharing_ = 0;      // holders of this generation
  bool alone_ = false;
  int64_t waiting_alone_ = 0;  // they go first: else a stream of opens would keep them waiting
};

}  // namespace headrace
