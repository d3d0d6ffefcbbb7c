// Messages for Python.
#pragma once
#include <nanobind/nanobind.h>

#include <string>

namespace headrace {

// A decoder's message, in whatever encoding it has, as a str.
inline nanobind::str to_str(const std::string& message) {
  return nanobind::steal<nanobind::str>(PyUnicode_DecodeUTF8(
      message.data(), static_cast<Py_ssize_t>(message.size()), "replace"));
}

}  // namespace headrace
