// RecordingTable: the recordings of some catalogs, looked up by number in the columns of their Arrow tables.
//
// Guarantees
// - Nothing is copied, and nothing is made for each recording: the table takes no memory of its own.
// - It does not change once the tables have been added; then threads may share it.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "reader/arrow_abi.h"
#include "reader/reader.h"

namespace headrace {

class RecordingTable {
 public:
  using Kind = std::tuple<int, int, std::string, std::string>;  // sample rate, channels, format, subtype

  // The names and Arrow types of the columns that a table has to have, in order.
  static const std::vector<std::pair<std::string, std::string>>& columns();

  // `kinds` are those of the formats of a Reader, in their order.
  explicit RecordingTable(const std::vector<Kind>& kinds);
  ~RecordingTable();
  RecordingTable(const RecordingTable&) = delete;
  RecordingTable& operator=(const RecordingTable&) = delete;

  // Append the rows of a table. Throws std::invalid_argument if it has other columns.
  void add(ArrowArrayStream* table);

  int64_t size() const { return size_; }
  // All of these are for numbers from 0 to size() - 1.
  std::string_view id(int64_t number) const;
  std::string_view path(int64_t number) const;
  // A file of the system, or a part of one. Throws std::invalid_argument if its kind is not one of `kinds`.
  RecordingFile file(int64_t number) const;

 private:
  struct Batch {
    int64_t first;  // number of its first recording
    ArrowArray rows;
  };
  const Batch& batch_of(int64_t number) const;

  std::map<Kind, int> formats_;
  std::vector<Batch> batches_;
  int64_t size_ = 0;
};

}  // namespace headrace
