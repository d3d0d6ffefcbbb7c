#include "reader/recording_table.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace headrace {
namespace {

enum Column { ID, PATH, SAMPLE_RATE, CHANNELS, FRAMES, FORMAT, SUBTYPE, SIZE, SEEK_POINTS, OFFSET, PIECES };

// One column of a batch of rows. `row` counts from the first row of the batch.
struct Values {
  Values(const ArrowArray& batch, Column column)
      : array(*batch.children[column]), base(batch.offset + array.offset) {}

  bool is_null(int64_t row) const {
    const auto* valid = static_cast<const uint8_t*>(array.buffers[0]);
    return valid && !(valid[(base + row) / 8] >> (base + row) % 8 & 1);
  }
  template <typename Number>
  Number number(int64_t row) const {
    return static_cast<const Number*>(array.buffers[1])[base + row];
  }
  template <typename Offset>
  std::string_view text(int64_t row) const {
    const Offset* ends = static_cast<const Offset*>(array.buffers[1]) + base + row;
    return {static_cast<const char*>(array.buffers[2]) + ends[0], static_cast<size_t>(ends[1] - ends[0])};
  }

  const ArrowArray& array;
  const int64_t base;
};

// Releases what Arrow has handed over.
template <typename Struct>
struct Owned {
  Struct it{};
  ~Owned() {
    if (it.release) it.release(&it);
  }
};

void check(int error, ArrowArrayStream* stream) {
  if (!error) return;
  const char* message = stream->get_last_error(stream);
  throw std::invalid_argument(std::string("the table cannot be read: ") + (message ? message : "no reason given"));
}

}  // namespace

const std::vector<std::pair<std::string, std::string>>& RecordingTable::columns() {
  static const std::vector<std::pair<std::string, std::string>> all{
      {"id", "u"},     {"path", "u"},    {"sample_rate", "i"}, {"channels", "i"},    {"frames", "l"},
      {"format", "u"}, {"subtype", "u"}, {"size", "l"},        {"seek_points", "Z"}, {"offset", "l"},
      {"pieces", "Z"}};
  return all;
}

RecordingTable::RecordingTable(const std::vector<Kind>& kinds) {
  for (const Kind& kind : kinds) formats_.emplace(kind, static_cast<int>(formats_.size()));
}

RecordingTable::~RecordingTable() {
  for (Batch& batch : batches_) batch.rows.release(&batch.rows);
}

void RecordingTable::add(ArrowArrayStream* table) {
  Owned<ArrowSchema> schema;
  check(table->get_schema(table, &schema.it), table);
  bool fits = schema.it.n_children == static_cast<int64_t>(columns().size());
  for (size_t c = 0; fits && c < columns().size(); ++c) {
    const ArrowSchema& column = *schema.it.children[c];
    fits = columns()[c].first == column.name && columns()[c].second == column.format;
  }
  if (!fits) throw std::invalid_argument("the table does not have the columns of a catalog");
  while (true) {
    Owned<ArrowArray> rows;
    check(table->get_next(table, &rows.it), table);
    if (!rows.it.release) return;
    if (!rows.it.length) continue;
    batches_.push_back({size_, rows.it});
    size_ += rows.it.length;
    rows.it.release = nullptr;  // moved
  }
}

const RecordingTable::Batch& RecordingTable::batch_of(int64_t number) const {
  const auto after = [](int64_t n, const Batch& batch) { return n < batch.first; };
  return *std::prev(std::upper_bound(batches_.begin(), batches_.end(), number, after));
}

std::string_view RecordingTable::id(int64_t number) const {
  const Batch& batch = batch_of(number);
  return Values(batch.rows, ID).text<int32_t>(number - batch.first);
}

std::string_view RecordingTable::path(int64_t number) const {
  const Batch& batch = batch_of(number);
  return Values(batch.rows, PATH).text<int32_t>(number - batch.first);
}

RecordingFile RecordingTable::file(int64_t number) const {
  const Batch& batch = batch_of(number);
  const ArrowArray& rows = batch.rows;
  const int64_t row = number - batch.first;
  const Kind kind{Values(rows, SAMPLE_RATE).number<int32_t>(row), Values(rows, CHANNELS).number<int32_t>(row),
                  Values(rows, FORMAT).text<int32_t>(row), Values(rows, SUBTYPE).text<int32_t>(row)};
  const auto format = formats_.find(kind);
  if (format == formats_.end()) throw std::invalid_argument("the table has a recording of another kind");
  RecordingFile file{number, format->second, Values(rows, FRAMES).number<int64_t>(row),
                     Values(rows, SIZE).number<int64_t>(row), {}, {}};
  file.place.path = path(number);
  const Values offset(rows, OFFSET);
  if (!offset.is_null(row)) {
    file.place.offset = offset.number<int64_t>(row);
    file.place.length = file.file_bytes;
    const Values pieces(rows, PIECES);
    if (!pieces.is_null(row)) file.place.pieces = pieces.text<int64_t>(row);
  }
  const Values points(rows, SEEK_POINTS);
  if (!points.is_null(row)) file.seek_points = points.text<int64_t>(row);
  return file;
}

}  // namespace headrace
