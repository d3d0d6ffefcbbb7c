// DecodeError: audio that cannot be read or decoded, with the code under which it is reported.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

namespace headrace {

struct DecodeError : std::runtime_error {
  DecodeError(const std::string& failure_code, const std::string& message)
      : std::runtime_error(message), code(failure_code) {}
  std::string code;  // the name of one of headrace.failures.Code: "TRUNCATED", "IO", ...
};

// Throw what an error of the operating system means for a file: MISSING, PERMISSION or IO. `number` is an
// errno.
[[noreturn]] void throw_system_error(int number);

// Throw CHANGED: the file has `bytes` bytes, fewer than the `scanned_bytes` that it had at the scan. A file
// that has become longer is accepted: a recorder may still be writing it, and what was scanned of it stays
// as it was.
[[noreturn]] void throw_shorter(int64_t bytes, int64_t scanned_bytes);

// Return " (text)" without a full stop at its end, or "" if there is no text.
std::string in_parentheses(const char* text);

}  // namespace headrace
