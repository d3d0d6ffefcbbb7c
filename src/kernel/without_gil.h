// Letting go of the GIL around a call that may come back when there is no interpreter any more.
//
// A thread that asks for the GIL while the interpreter is being taken down is ended on the spot (before
// Python 3.14), by unwinding its stack through whatever is on it: C++ answers that with abort(). Here it
// sleeps instead, as from 3.14 on, until the process has gone. Only a read that was given up comes back
// so late: all other threads have been joined by then.
#pragma once
#include <Python.h>

#include <chrono>
#include <thread>

namespace headrace {

class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    while (finalizing()) std::this_thread::sleep_for(std::chrono::hours(1));
    PyEval_RestoreThread(state_);
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  static bool finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
  }
  PyThreadState* state_;
};

}  // namespace headrace
