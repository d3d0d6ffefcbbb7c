#include "sources/decode_error.h"

#include <cerrno>
#include <cstring>

namespace headrace {

void throw_system_error(int number) {
  if (number == ENOENT || number == ENOTDIR) throw DecodeError("MISSING", "the file does not exist");
  if (number == EACCES || number == EPERM)
    throw DecodeError("PERMISSION", "permission denied: check the file's permissions");
  throw DecodeError("IO", std::string("the operating system reports: ") + std::strerror(number));
}

void throw_shorter(int64_t bytes, int64_t scanned_bytes) {
  throw DecodeError("CHANGED", "the file has " + std::to_string(bytes) + " bytes, but had " +
                                   std::to_string(scanned_bytes) + " when it was scanned: scan again");
}

std::string in_parentheses(const char* text) {
  std::string inner(text ? text : "");
  while (!inner.empty() && (inner.back() == '.' || inner.back() == '\n')) inner.pop_back();
  return inner.empty() ? "" : " (" + inner + ")";
}

}  // namespace headrace
