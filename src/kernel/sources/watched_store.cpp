#include "sources/watched_store.h"

#include <cerrno>
#include <exception>
#include <utility>

namespace headrace {

void WatchedStore::First::note(const DecodeError& one) {
  const std::lock_guard<std::mutex> guard(mutex);
  if (!error) error = one;
}

class WatchedStore::WatchedBytes : public Bytes {
 public:
  WatchedBytes(std::unique_ptr<Bytes> bytes, std::shared_ptr<First> first)
      : bytes_(std::move(bytes)), first_(std::move(first)) {}
  int64_t size() const override { return bytes_->size(); }
  int64_t read(int64_t offset, void* to, int64_t count) const override {
    try {
      const int64_t got = bytes_->read(offset, to, count);
      if (got < 0) first_->note(DecodeError("IO", "the file cannot be read"));
      return got;
    } catch (const DecodeError& error) {
      first_->note(error);
    } catch (const std::exception& error) {
      first_->note(DecodeError("IO", std::string("the file cannot be read: ") + error.what()));
    }
    errno = EIO;
    return -1;
  }
  int64_t ready(int64_t offset, int64_t count) const override { return bytes_->ready(offset, count); }

 private:
  const std::unique_ptr<Bytes> bytes_;
  const std::shared_ptr<First> first_;
};

WatchedStore::WatchedStore(std::shared_ptr<ByteStore> store)
    : store_(std::move(store)), first_(std::make_shared<First>()) {}

std::unique_ptr<Bytes> WatchedStore::open(const std::string& key) {
  try {
    return std::make_unique<WatchedBytes>(store_->open(key), first_);
  } catch (const DecodeError& error) {
    first_->note(error);
    throw;
  }
}

std::optional<DecodeError> WatchedStore::error() const {
  const std::lock_guard<std::mutex> guard(first_->mutex);
  return first_->error;
}

void WatchedStore::check() const {
  if (const auto first = error()) throw *first;
}

std::shared_ptr<WatchedStore> watch(Place* place) {
  if (!place->store) return nullptr;
  auto watched = std::make_shared<WatchedStore>(place->store);
  place->store = watched;
  return watched;
}

}  // namespace headrace
