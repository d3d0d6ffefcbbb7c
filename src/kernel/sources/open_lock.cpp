#include "sources/open_lock.h"

#include <chrono>
#include <new>

#ifndef _WIN32
#include <pthread.h>
#endif

namespace headrace {
namespace {

alignas(OpenLock) unsigned char memory[sizeof(OpenLock)];  // never destroyed: a thread may outlast `main`

void renew() { new (memory) OpenLock; }

bool set_up() {
  renew();
#ifndef _WIN32
  pthread_atfork(nullptr, nullptr, renew);
#endif
  return true;
}

}  // namespace

OpenLock& OpenLock::of_process() {
  static const bool ready = set_up();
  (void)ready;
  return *std::launder(reinterpret_cast<OpenLock*>(memory));
}

uint64_t OpenLock::acquire(Hold::Kind kind) {
  const bool alone = kind == Hold::ALONE;
  std::unique_lock<std::mutex> guard(mutex_);
  waiting_alone_ += alone;
  const bool in_time = changed_.wait_for(guard, std::chrono::duration<double>(PATIENCE_S), [&] {
    return !alone_ && (alone ? sharing_ == 0 : waiting_alone_ == 0);
  });
  waiting_alone_ -= alone;
  if (!in_time && (alone || alone_)) {
    ++generation_;
    sharing_ = 0;
    alone_ = false;
    changed_.notify_all();
  }
  if (alone)
    alone_ = true;
  else
    ++sharing_;
  return generation_;
}

void OpenLock::release(Hold::Kind kind, uint64_t generation) {
  const std::lock_guard<std::mutex> guard(mutex_);
  if (generation != generation_) return;
  if (kind == Hold::ALONE)
    alone_ = false;
  else
    --sharing_;
  if (!sharing_) changed_.notify_all();
}

bool OpenLock::is_current(uint64_t generation) {
  const std::lock_guard<std::mutex> guard(mutex_);
  return generation == generation_;
}

}  // namespace headrace
