#include "python/python_source.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "python/without_gil.h"
#include "sources/decode_error.h"

namespace nb = nanobind;

namespace headrace {
namespace {

// Call Python. Before Python 3.14, a thread that returns to an interpreter that is being finalized is ended
// by unwinding its stack, in the middle of the call: see without_gil.h. Here it sleeps instead.
template <typename Call>
PyObject* call_python(Call call) {
  try {
    return call();
  } catch (...) {  // only that: Python's own calls throw nothing
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

// Throw the Python exception that was raised: a DecodeError if it has a code and a message.
[[noreturn]] void throw_raised() {
  nb::python_error error;
  const nb::object value = nb::borrow(error.value());
  if (!nb::hasattr(value, "code") || !nb::hasattr(value, "message")) throw error;
  throw DecodeError(nb::cast<std::string>(nb::str(value.attr("code").attr("value"))),
              nb::cast<std::string>(nb::str(value.attr("message"))));
}

class PythonSource : public Source {
 public:
  PythonSource(PyObject* opener, const SourceSpec& spec) : frame_bytes_(4 * spec.format.channels) {
    const WithGil held;
    const nb::bytes path(spec.place.path.data(), spec.place.path.size());
    const nb::bytes points(spec.seek_points.data(), spec.seek_points.size());
    PyObject* last = spec.seek_points.empty() ? nullptr : points.ptr();
    stream_ = call_python([&] { return PyObject_CallFunctionObjArgs(opener, path.ptr(), last, nullptr); });
    if (!stream_) throw_raised();
    const nb::object seekable = nb::steal(
        call_python([&] { return PyObject_GetAttrString(stream_, "seekable"); }));
    if (!seekable.is_valid()) PyErr_Clear();  // a stream without the attribute gives frames in order
    seekable_ = seekable.is_valid() && seekable.ptr() == Py_True;
  }
  ~PythonSource() override {
    const WithGil held;
    PyObject* done = call_python([&] { return PyObject_CallMethod(stream_, "close", nullptr); });
    if (!done) PyErr_WriteUnraisable(stream_);
    Py_XDECREF(done);
    Py_DECREF(stream_);
  }
  PythonSource(const PythonSource&) = delete;
  PythonSource& operator=(const PythonSource&) = delete;

  int64_t read(void* to, int64_t frames) override {
    const WithGil held;
    const nb::object memory = nb::steal(
        PyMemoryView_FromMemory(static_cast<char*>(to), frames * frame_bytes_, PyBUF_WRITE));
    if (!memory.is_valid()) throw_raised();
    const nb::object got = nb::steal(
        call_python([&] { return PyObject_CallMethod(stream_, "read", "O", memory.ptr()); }));
    if (!got.is_valid()) throw_raised();
    const int64_t count = nb::cast<int64_t>(got);
    if (count < 0 || count > frames)
      throw std::out_of_range("read() returned too many frames, or fewer than 0");
    if (count < frames)
      complaint_ = nb::cast<std::string>(nb::borrow(stream_).attr("complaint"));
    return count;
  }
  bool seekable() const override { return seekable_; }
  void seek(int64_t frame) override {
    const WithGil held;
    const nb::object done = nb::steal(
        call_python([&] { return PyObject_CallMethod(stream_, "seek", "L", static_cast<long long>(frame)); }));
    if (!done.is_valid()) throw_raised();
  }
  std::string complaint() override { return complaint_; }
  bool system_failed() override { return false; }

 private:
  const int64_t frame_bytes_;
  PyObject* stream_ = nullptr;
  bool seekable_ = false;
  std::string complaint_;
};

}  // namespace

std::unique_ptr<Source> open_python(PyObject* opener, const SourceSpec& spec) {
  return std::make_unique<PythonSource>(opener, spec);
}

}  // namespace headrace
