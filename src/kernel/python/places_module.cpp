// Binds Place, the stores that need nothing but memory, and reading the bytes of a place.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <list>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

#include "python/bindings.h"
#include "python/text.h"
#include "python/without_gil.h"
#include "sources/decode_error.h"
#include "sources/watched_store.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace headrace {
namespace {

// Objects in memory that Python owns, by key; nothing is copied.
class MemoryStore : public ByteStore, public std::enable_shared_from_this<MemoryStore> {
 public:
  explicit MemoryStore(const nb::dict& objects) {
    try {
      for (const auto& [key, object] : objects) {
        const nb::bytes name = nb::cast<nb::bytes>(key);
        Py_buffer buffer;
        if (PyObject_GetBuffer(object.ptr(), &buffer, PyBUF_SIMPLE) != 0) throw nb::python_error();
        buffers_.emplace(std::string(name.c_str(), name.size()), buffer);
      }
    } catch (...) {
      release();
      throw;
    }
  }
  ~MemoryStore() override {
    if (PyGILState_Check()) {
      release();
    } else if (!is_finalizing()) {  // else the process ends, and its memory with it
      const WithGil held;
      release();
    }
  }
  MemoryStore(const MemoryStore&) = delete;
  MemoryStore& operator=(const MemoryStore&) = delete;

  std::unique_ptr<Bytes> open(const std::string& key) override {
    const auto found = buffers_.find(key);
    if (found == buffers_.end()) throw DecodeError("MISSING", "the table or store has no such object");
    return std::make_unique<Memory>(shared_from_this(), found->second);
  }

 private:
  class Memory : public Bytes {
   public:
    Memory(std::shared_ptr<const MemoryStore> store, const Py_buffer& buffer)
        : store_(std::move(store)), data_(static_cast<const char*>(buffer.buf)), size_(buffer.len) {}
    int64_t size() const override { return size_; }
    int64_t read(int64_t offset, void* to, int64_t count) const override {
      if (offset < 0 || offset >= size_) return 0;
      const int64_t some = std::min(count, size_ - offset);
      std::memcpy(to, data_ + offset, static_cast<size_t>(some));
      return some;
    }

   private:
    const std::shared_ptr<const MemoryStore> store_;
    const char* const data_;
    const int64_t size_;
  };

  void release() {
    for (auto& [key, buffer] : buffers_) PyBuffer_Release(&buffer);
    buffers_.clear();
  }

  std::unordered_map<std::string, Py_buffer> buffers_;
};

// Objects that a Python function makes when they are first read. They are kept up to a limit, and made again.
//
// Guarantees
// - One object is made at a time; threads that need it, or another one, wait without the GIL.
// - Before one is made, others are dropped until `capacity - largest` bytes are held: those not read for longest.
//   The same when the capacity is changed, which may be done at any time.
class LoadingStore : public ByteStore, public std::enable_shared_from_this<LoadingStore> {
 public:
  LoadingStore(PyObject* load, int64_t capacity, int64_t largest)
      : load_(load), largest_(largest), capacity_(capacity) {
    Py_INCREF(load_);
  }
  ~LoadingStore() override {
    if (PyGILState_Check()) {
      Py_DECREF(load_);
    } else if (!is_finalizing()) {
      const WithGil held;
      Py_DECREF(load_);
    }
  }
  LoadingStore(const LoadingStore&) = delete;
  LoadingStore& operator=(const LoadingStore&) = delete;

  int64_t capacity() const { return capacity_; }
  void set_capacity(int64_t bytes) {
    if (bytes < largest_) throw std::invalid_argument("capacity must be at least largest");
    capacity_ = bytes;
    make_room();
  }

  std::unique_ptr<Bytes> open(const std::string& key) override {
    return std::make_unique<Loaded>(shared_from_this(), key);
  }

 private:
  // A buffer of Python's.
  struct Object {
    Py_buffer buffer{};
    ~Object() {
      if (PyGILState_Check()) {
        PyBuffer_Release(&buffer);
      } else if (!is_finalizing()) {
        const WithGil held;
        PyBuffer_Release(&buffer);
      }
    }
  };
  struct Kept {
    std::string key;
    std::shared_ptr<Object> object;
  };

  class Loaded : public Bytes {
   public:
    Loaded(std::shared_ptr<LoadingStore> store, std::string key) : store_(std::move(store)), key_(std::move(key)) {}
    int64_t size() const override { return store_->get(key_)->buffer.len; }
    int64_t read(int64_t offset, void* to, int64_t count) const override {
      const auto object = store_->get(key_);
      if (offset < 0 || offset >= object->buffer.len) return 0;
      const int64_t some = std::min<int64_t>(count, object->buffer.len - offset);
      std::memcpy(to, static_cast<const char*>(object->buffer.buf) + offset, static_cast<size_t>(some));
      return some;
    }

   private:
    const std::shared_ptr<LoadingStore> store_;
    const std::string key_;
  };

  std::shared_ptr<Object> find(const std::string& key) {
    const std::lock_guard<std::mutex> guard(mutex_);
    for (auto it = kept_.begin(); it != kept_.end(); ++it) {
      if (it->key != key) continue;
      kept_.splice(kept_.begin(), kept_, it);
      return it->object;
    }
    return nullptr;
  }

  std::shared_ptr<Object> get(const std::string& key) {
    if (auto object = find(key)) return object;
    const std::lock_guard<std::mutex> loading(loading_);
    if (auto object = find(key)) return object;
    make_room();
    auto object = load(key);
    const std::lock_guard<std::mutex> guard(mutex_);
    kept_.push_front({key, object});
    held_ += object->buffer.len;
    return object;
  }

  void make_room() {
    std::list<Kept> dropped;  // freed after the mutex is released: that takes the GIL
    const std::lock_guard<std::mutex> guard(mutex_);
    while (held_ > capacity_ - largest_ && !kept_.empty()) {
      held_ -= kept_.back().object->buffer.len;
      dropped.splice(dropped.begin(), kept_, std::prev(kept_.end()));
    }
  }

  std::shared_ptr<Object> load(const std::string& key) {
    const WithGil held;
    auto object = std::make_shared<Object>();
    const nb::bytes name(key.data(), key.size());
    PyObject* made = PyObject_CallOneArg(load_, name.ptr());
    const int failed = made ? PyObject_GetBuffer(made, &object->buffer, PyBUF_SIMPLE) : -1;
    Py_XDECREF(made);
    if (failed == 0) return object;
    nb::python_error error;
    const nb::object value = nb::borrow(error.value());
    if (nb::hasattr(value, "code") && nb::hasattr(value, "message"))
      throw DecodeError(nb::cast<std::string>(nb::str(value.attr("code").attr("value"))),
                        nb::cast<std::string>(nb::str(value.attr("message"))));
    throw DecodeError("IO", "the table cannot be read: " + nb::cast<std::string>(nb::str(value)));
  }

  PyObject* const load_;
  const int64_t largest_;
  std::atomic<int64_t> capacity_;
  std::mutex loading_, mutex_;
  std::list<Kept> kept_;  // most recently read first
  int64_t held_ = 0;
};

struct PyMemoryStore : PyByteStore {};
struct PyLoadingStore : PyByteStore {};
struct PyWatchedStore : PyByteStore {};

void make_memory_store(PyMemoryStore* self, const nb::dict& objects) {
  new (self) PyMemoryStore{{std::make_shared<MemoryStore>(objects)}};
}

void make_loading_store(PyLoadingStore* self, nb::handle load, int64_t capacity, int64_t largest) {
  if (largest < 0 || capacity < largest) throw std::invalid_argument("capacity must be at least largest");
  new (self) PyLoadingStore{{std::make_shared<LoadingStore>(load.ptr(), capacity, largest)}};
}

void make_watched_store(PyWatchedStore* self, const PyByteStore& store) {
  new (self) PyWatchedStore{{std::make_shared<WatchedStore>(store.plain)}};
}

int64_t loading_capacity(const PyLoadingStore& self) {
  return static_cast<const LoadingStore&>(*self.plain).capacity();
}

void set_loading_capacity(PyLoadingStore& self, int64_t bytes) {
  static_cast<LoadingStore&>(*self.plain).set_capacity(bytes);
}

nb::object watched_error(const PyWatchedStore& self) {
  const auto error = static_cast<const WatchedStore&>(*self.plain).error();
  if (!error) return nb::none();
  return nb::make_tuple(error->code, to_str(error->what()));
}

void make_place(PyPlace* self, const nb::bytes& path, int64_t offset, int64_t length, nb::object store,
                const std::optional<nb::bytes>& pieces) {
  if (offset < 0 || offset > INT64_MAX / 2 || length < -1 || length > INT64_MAX / 2)
    throw std::invalid_argument("offset must be from 0 on, and length from -1 on");
  if (pieces && length < 0) throw std::invalid_argument("with pieces, length must be given");
  Place plain{std::string(path.c_str(), path.size()), offset, length, nullptr, {}};
  if (pieces) plain.pieces.emplace(pieces->c_str(), pieces->size());
#ifdef _WIN32
  if (store.is_none()) plain.path += std::string(2, '\0');  // ends UTF-16
#endif
  if (!store.is_none()) plain.store = nb::cast<const PyByteStore&>(store).plain;
  new (self) PyPlace{std::move(plain), std::move(store)};
}

nb::bytes place_path(const PyPlace& place) {
#ifdef _WIN32
  return nb::bytes(place.plain.path.data(), place.plain.path.size() - (place.plain.store ? 0 : 2));
#else
  return nb::bytes(place.plain.path.data(), place.plain.path.size());
#endif
}

template <auto Member>
auto place_field(const PyPlace& place) {
  return place.plain.*Member;
}

// The bytes of a place, read by Python. What stops a call is a value.
class PlaceBytes {
 public:
  explicit PlaceBytes(const PyPlace& place) {
    run([&] {
#ifdef _WIN32
      throw DecodeError("UNSUPPORTED", "on Windows only whole files are read: unpack it");
#else
      bytes_ = open_bytes(place.plain);
      size = bytes_->size();
#endif
    });
  }

  nb::object read(int64_t offset, int64_t count) {
    if (!bytes_ || offset < 0 || count < 0) throw std::invalid_argument("nothing can be read there");
    count = std::min(count, std::max<int64_t>(0, size - offset));
    nb::object memory = nb::steal(PyBytes_FromStringAndSize(nullptr, count));
    if (!memory.is_valid()) throw nb::python_error();
    char* const to = PyBytes_AS_STRING(memory.ptr());
    int64_t got = 0;
    run([&] {
      got = bytes_->read(offset, to, count);
      if (got < 0) throw_system_error(errno);
    });
    if (!error.is_none()) return nb::bytes("", 0);
    if (got == count) return memory;
    return nb::bytes(to, static_cast<size_t>(got));
  }

  int64_t size = 0;
  nb::object error = nb::none();

 private:
  template <typename Work>
  void run(Work work) {
    std::string code, message;
    {
      const WithoutGil released;
      try {
        work();
      } catch (const DecodeError& thrown) {
        code = thrown.code;
        message = thrown.what();
      }
    }
    error = code.empty() ? nb::object(nb::none()) : nb::object(nb::make_tuple(code, to_str(message)));
  }

  std::unique_ptr<Bytes> bytes_;
};

}  // namespace

void bind_places(nb::module_& m) {
  nb::class_<PyByteStore>(m, "ByteStore");
  nb::class_<PyMemoryStore, PyByteStore>(m, "MemoryStore").def("__init__", &make_memory_store, "objects"_a);
  nb::class_<PyLoadingStore, PyByteStore>(m, "LoadingStore")
      .def("__init__", &make_loading_store, nb::kw_only(), "load"_a, "capacity"_a, "largest"_a)
      .def_prop_rw("capacity", &loading_capacity, &set_loading_capacity);
  nb::class_<PyWatchedStore, PyByteStore>(m, "WatchedStore")
      .def("__init__", &make_watched_store, "store"_a)
      .def_prop_ro("error", &watched_error);
  nb::class_<PyPlace>(m, "Place")
      .def("__init__", &make_place, nb::kw_only(), "path"_a, "offset"_a = 0, "length"_a = -1,
           "store"_a = nb::none(), "pieces"_a = nb::none())
      .def_prop_ro("path", &place_path)
      .def_prop_ro("offset", &place_field<&Place::offset>)
      .def_prop_ro("length", &place_field<&Place::length>)
      .def_ro("store", &PyPlace::store);
  nb::class_<PlaceBytes>(m, "PlaceBytes")
      .def(nb::init<const PyPlace&>(), "place"_a)
      .def("read", &PlaceBytes::read, "offset"_a, "count"_a)
      .def_ro("size", &PlaceBytes::size)
      .def_ro("error", &PlaceBytes::error);
}

}  // namespace headrace
