// Letting go of the GIL around a call that may come back when there is no interpreter any more, and
// taking it for a moment within such a call.
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

// Sleep until the process has gone, if the interpreter is being taken down.
inline void wait_if_finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
  while (Py_IsFinalizing()) std::this_thread::sleep_for(std::chrono::hours(1));
#else
  while (_Py_IsFinalizing()) std::this_thread::sleep_for(std::chrono::hours(1));
#endif
}

class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    wait_if_finalizing();
    PyEval_RestoreThread(state_);
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

class WithGil {
 public:
  WithGil() : state_((wait_if_finalizing(), PyGILState_Ensure())) {}
  ~WithGil() { PyGILState_Release(state_); }
  WithGil(const WithGil&) = delete;
  WithGil& operator=(const WithGil&) = delete;

 private:
  PyGILState_STATE state_;
};

}  // namespace headrace
