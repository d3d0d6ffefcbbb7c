// WithoutGil and WithGil: release the GIL for a scope, and take it for a moment within such a scope, in
// calls that may outlast the interpreter.
//
// Before Python 3.14, a thread that asks for the GIL while the interpreter is being finalized is ended by
// unwinding its stack. That passes C++ frames, and the process aborts. Here the thread sleeps until the
// process ends, as it does from Python 3.14 on. This happens only to an abandoned read: all other threads
// have been joined before.
#pragma once
#include <Python.h>

#include <chrono>
#include <thread>

namespace headrace {

inline bool is_finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing();
#else
  return _Py_IsFinalizing();
#endif
}

// If the interpreter is being finalized, sleep until the process ends.
inline void wait_if_finalizing() {
  while (is_finalizing()) std::this_thread::sleep_for(std::chrono::hours(1));
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
