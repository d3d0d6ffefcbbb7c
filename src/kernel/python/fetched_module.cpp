// Binds FetchedStore: bytes that Python fetches, and native readers wait for; and BlockFiles: its disk cache.
#include <Python.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/syscall.h>
#elif defined(__APPLE__)
#include <pthread.h>
#endif

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "python/bindings.h"
#include "python/without_gil.h"
#include "sources/block_files.h"
#include "sources/byte_range.h"
#include "sources/decode_error.h"
#include "sources/fetched_store.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace headrace {
namespace {

// A Python object whose buffer is lent until the last reader has copied it.
FetchedStore::Data borrow(const nb::object& object, int64_t count) {
  auto view = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(object.ptr(), view.get(), PyBUF_SIMPLE) != 0) throw nb::python_error();
  if (view->len != count) {
    PyBuffer_Release(view.get());
    throw std::invalid_argument("these are not as many bytes as the range has");
  }
  const char* data = static_cast<const char*>(view->buf);
  return FetchedStore::Data(data, [owned = view.release()](const char*) {
    const WithGil held;
    PyBuffer_Release(owned);
    delete owned;
  });
}

bool handles_signals() {
#if defined(__linux__)
  return syscall(SYS_gettid) == getpid();
#elif defined(__APPLE__)
  return pthread_main_np() != 0;
#else
  return false;
#endif
}

struct Raised {
#if PY_VERSION_HEX >= 0x030C0000
  PyObject* exception = PyErr_GetRaisedException();
  void restore() { PyErr_SetRaisedException(exception); }
#else
  PyObject *type, *value, *trace;
  Raised() { PyErr_Fetch(&type, &value, &trace); }
  void restore() { PyErr_Restore(type, value, trace); }
#endif
};

int raise_now(void* argument) {
  const std::unique_ptr<Raised> raised(static_cast<Raised*>(argument));
  raised->restore();
  return -1;
}

// What a handler raises passes no decoder: it is raised when the call of the kernel has returned.
bool run_signal_handlers() {
  const WithGil held;
  if (PyErr_CheckSignals() == 0) return false;
  auto raised = std::make_unique<Raised>();
  if (Py_AddPendingCall(&raise_now, raised.get()) == 0) {
    raised.release();
  } else {  // too many calls are pending
    raised->restore();
    PyErr_WriteUnraisable(nullptr);
  }
  return true;
}

constexpr SignalHandling PYTHON_SIGNALS{&handles_signals, &run_signal_handlers};

nb::list as_list(const std::vector<FetchedStore::Range>& ranges) {
  nb::list list;
  for (const auto& range : ranges) list.append(nb::make_tuple(range.offset, range.count));
  return list;
}

struct PyFetchedStore : PyByteStore {
  FetchedStore& get() const { return static_cast<FetchedStore&>(*plain); }
};

template <auto Method>
auto plain(const PyFetchedStore& self) {
  return (self.get().*Method)();
}

struct PyBlockFiles {
  std::shared_ptr<BlockFiles> plain;
};

// As FetchedStore, the size of an object is the first word of its key.
std::vector<int64_t> absent_blocks(const PyBlockFiles& self, const std::string& key, int64_t offset, int64_t count) {
  const WithoutGil released;
  return self.plain->absent_blocks(key, object_size(key), {offset, offset + count});
}

int64_t write_blocks(const PyBlockFiles& self, const std::string& key, int64_t offset, const nb::object& data,
                     int64_t blocks) {
  Py_buffer view;
  if (PyObject_GetBuffer(data.ptr(), &view, PyBUF_SIMPLE) != 0) throw nb::python_error();
  int64_t written;
  {
    const WithoutGil released;
    written = self.plain->write(key, object_size(key), {offset, offset + view.len},
                                static_cast<const char*>(view.buf), blocks);
  }
  PyBuffer_Release(&view);
  return written;
}

nb::object read_some(const PyFetchedStore& self, const std::string& key, int64_t offset, int64_t count) {
  if (count < 0) throw std::invalid_argument("count must not be negative");
  std::string data;
  std::string code, message;
  {
    const WithoutGil released;
    try {
      const auto bytes = self.get().open(key);
      data.resize(static_cast<size_t>(count));
      data.resize(static_cast<size_t>(bytes->read(offset, data.data(), count)));
    } catch (const DecodeError& error) {
      code = error.code;
      message = error.what();
    }
  }
  if (!code.empty()) return nb::make_tuple(code, message);
  return nb::bytes(data.data(), data.size());
}

nb::list find_byte_ranges(const nb::bytes& seek_points, int64_t start, int64_t stop, int64_t size) {
  nb::list found;
  for (const ByteRange& one : byte_ranges(std::string(seek_points.c_str(), seek_points.size()), start, stop, size))
    found.append(nb::make_tuple(one.begin, one.end, one.header));
  return found;
}

}  // namespace

void bind_fetched(nb::module_& m) {
  nb::class_<PyBlockFiles>(m, "BlockFiles")
      .def(
          "__init__",
          [](PyBlockFiles* self, const nb::bytes& folder) {
            new (self) PyBlockFiles{std::make_shared<BlockFiles>(std::string(folder.c_str(), folder.size()))};
          },
          "folder"_a)
      .def(
          "open",
          [](const PyBlockFiles& self, const std::string& key, bool create) {
            const WithoutGil released;
            return self.plain->open(key, object_size(key), create);
          },
          "key"_a, "create"_a = false)
      .def("absent_blocks", &absent_blocks, "key"_a, "offset"_a, "count"_a)
      .def("write", &write_blocks, "key"_a, "offset"_a, "data"_a, "blocks"_a)
      .def("stop_admitting", [](const PyBlockFiles& self) { self.plain->stop_admitting(); })
      .def("close",
           [](const PyBlockFiles& self) {
             const WithoutGil released;
             self.plain->close();
           })
      .def_prop_ro("admits", [](const PyBlockFiles& self) { return self.plain->admits(); })
      .def_prop_ro("error", [](const PyBlockFiles& self) { return self.plain->error(); })
      .def_prop_ro("bytes_read", [](const PyBlockFiles& self) { return self.plain->bytes_read(); });
  using Store = PyFetchedStore;
  nb::class_<Store, PyByteStore>(m, "FetchedStore")
      .def(
          "__init__",
          [](Store* self, int64_t cached_bytes, int64_t ahead, const PyBlockFiles* files) {
            new (self) Store{{std::make_shared<FetchedStore>(cached_bytes, ahead, files ? files->plain : nullptr,
                                                             &PYTHON_SIGNALS)}};
          },
          "cached_bytes"_a, "ahead"_a, "files"_a = nb::none())
      .def(
          "expect",
          [](const Store& self, const std::string& key, int64_t offset, int64_t count, int64_t most,
             bool keep) {
            if (most < 1) throw std::invalid_argument("most must be at least 1");
            return as_list(self.get().expect(key, {offset, count}, most, keep));
          },
          "key"_a, "offset"_a, "count"_a, "most"_a, "keep"_a = false)
      .def(
          "hold",
          [](const Store& self, const std::string& key, int64_t offset, int64_t count, const nb::object& data) {
            self.get().hold(key, {offset, count}, borrow(data, count));
          },
          "key"_a, "offset"_a, "count"_a, "data"_a)
      .def(
          "release",
          [](const Store& self, const std::string& key, int64_t offset, int64_t count) {
            nb::list list;
            for (const auto& one : self.get().release(key, {offset, count}))
              list.append(nb::make_tuple(one.range.offset, one.range.count, one.awaited));
            return list;
          },
          "key"_a, "offset"_a, "count"_a)
      .def(
          "give",
          [](const Store& self, const std::string& key, int64_t offset, int64_t count,
             const nb::object& data) { self.get().give(key, {offset, count}, borrow(data, count)); },
          "key"_a, "offset"_a, "count"_a, "data"_a)
      .def(
          "fail",
          [](const Store& self, const std::string& key, int64_t offset, const std::string& code,
             const std::string& message) { self.get().fail(key, offset, code, message); },
          "key"_a, "offset"_a, "code"_a, "message"_a)
      .def(
          "held",
          [](const Store& self, const std::string& key, int64_t offset, int64_t count) {
            return self.get().held(key, {offset, count});
          },
          "key"_a, "offset"_a, "count"_a)
      .def(
          "wants",
          [](const Store& self, const std::string& key, int64_t offset) { return self.get().wants(key, offset); },
          "key"_a, "offset"_a)
      .def("take",
           [](const Store& self) {
             nb::list list;
             for (const auto& one : self.get().take())
               list.append(nb::make_tuple(one.key, one.range.offset, one.range.count, one.planned));
             return list;
           })
      .def("fileno", &plain<&FetchedStore::descriptor>)
      .def("close", &plain<&FetchedStore::close>)
      .def_prop_ro("held_bytes", &plain<&FetchedStore::held_bytes>)
      .def_prop_ro("most_held_bytes", &plain<&FetchedStore::most_held_bytes>)
      .def("read", &read_some, "key"_a, "offset"_a, "count"_a);
  m.def("byte_ranges", &find_byte_ranges, "seek_points"_a, "start"_a, "stop"_a, "size"_a);
}

}  // namespace headrace
