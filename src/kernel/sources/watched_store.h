// WatchedStore: a store that keeps the first error of another one.
//
// libsndfile and FFmpeg call back for bytes, and cannot pass an exception on: they would report a store that does not
// answer as a damaged file. So whoever lets them read from a store watches it, and asks here afterwards.
//
// Guarantees: reading what it has opened throws nothing. An error counts even if its reader went on without it.
#pragma once
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "sources/decode_error.h"
#include "sources/place.h"

namespace headrace {

class WatchedStore : public ByteStore {
 public:
  explicit WatchedStore(std::shared_ptr<ByteStore> store);
  std::unique_ptr<Bytes> open(const std::string& key) override;

  // The first error so far.
  std::optional<DecodeError> error() const;
  // Throw it, if there is one.
  void check() const;

 private:
  struct First {
    std::mutex mutex;
    std::optional<DecodeError> error;
    void note(const DecodeError& one);
  };
  class WatchedBytes;

  const std::shared_ptr<ByteStore> store_;
  const std::shared_ptr<First> first_;
};

// Put a WatchedStore in front of the place's store, and return it; null if the place has no store.
std::shared_ptr<WatchedStore> watch(Place* place);

}  // namespace headrace
