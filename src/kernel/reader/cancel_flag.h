// CancelFlag: a byte of Python's memory that another thread sets to stop a call.
#pragma once
#include <atomic>

namespace headrace {

using CancelFlag = std::atomic<unsigned char>;
static_assert(sizeof(CancelFlag) == 1 && CancelFlag::is_always_lock_free, "Python writes this byte");

}  // namespace headrace
