// Binds Reader and the types of its arguments and results.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "arithmetic/instruction_sets.h"
#include "python/bindings.h"
#include "python/text.h"
#include "python/without_gil.h"
#include "reader/reader.h"
#include "reader/recording_table.h"
#ifndef _WIN32
#include "sources/flac_search.h"
#include "sources/flac_source.h"
#endif

namespace nb = nanobind;
using namespace nb::literals;

namespace headrace {
namespace {

using Rows = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using Flag = nb::ndarray<unsigned char, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Numbers = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

constexpr int64_t UNREAD = -1;  // in place of a recording's number: the row is filled with zeros

constexpr int64_t MOST_FRAMES = int64_t{1} << 44;  // years; times a sample rate it still fits 63 bits

// A RecordingFormat that owns what it refers to.
struct PyRecordingFormat {
  RecordingFormat plain;
  nb::object source, filter;
};

// A RecordingFile, and its place as Python knows it.
struct PyRecordingFile {
  RecordingFile plain;
  nb::object place;
};

void make_recording_format(PyRecordingFormat* self, nb::object source, nb::object filter,
                           int64_t output_up, int64_t output_down, int64_t chunk, int64_t history) {
  if (output_up < 1 || output_down < 1 || chunk < 1 || history < 0)
    throw std::invalid_argument("output_up, output_down and chunk must be at least 1, history at least 0");
  new (self) PyRecordingFormat{{nb::cast<const PySourceFormat&>(source).plain,
                                &nb::cast<const Filter&>(filter), output_up, output_down, chunk,
                                history},
                               source, filter};
}

// Landmarks that Python holds, too.
struct PyLandmarks {
  std::shared_ptr<Landmarks> plain = std::make_shared<Landmarks>();
};

void make_recording(PyRecordingFile* self, int64_t id, int format, int64_t frames, int64_t file_bytes,
                    nb::object place, const std::optional<nb::bytes>& seek_points, const PyLandmarks* landmarks,
                    std::string name) {
  if (frames < 0 || frames > MOST_FRAMES)
    throw std::invalid_argument("frames must be from 0 to 2^44, not " + std::to_string(frames));
  RecordingFile plain{id, format, frames, file_bytes, nb::cast<const PyPlace&>(place).plain, {}, {}, std::move(name)};
  if (landmarks) plain.landmarks = landmarks->plain;
  new (self) PyRecordingFile{std::move(plain), std::move(place)};
  if (seek_points) self->plain.seek_points.assign(seek_points->c_str(), seek_points->size());
}

#ifndef _WIN32
nb::object search(const PyRecordingFile& recording, int64_t start, int64_t stop, int64_t begin, int64_t end, int steps,
                  bool probed) {
  const RecordingFile& file = recording.plain;
  if (!file.landmarks) throw std::invalid_argument("the recording has no landmarks");
  if (start < 0 || start >= stop || stop > file.frames)
    throw std::invalid_argument("frames must be some of the recording's");
  std::optional<FlacRange> range;
  if (steps == 0) {
    range = file.landmarks->next(file.name, file.frames, file.file_bytes, start, stop, {begin, end}, probed, steps);
  } else {
    const WithoutGil released;
    range = search_flac({file.place, file.file_bytes, file.frames, unpack_flac_end(file.seek_points)}, file.name,
                        *file.landmarks, start, stop, {begin, end}, probed, steps);
  }
  if (!range) return nb::none();
  return nb::make_tuple(range->begin, range->end, range->kind);
}
#endif

template <auto Member>
auto recording_field(const PyRecordingFile& recording) {
  return recording.plain.*Member;
}

nb::object recording_seek_points(const PyRecordingFile& recording) {
  const std::string& points = recording.plain.seek_points;
  if (points.empty()) return nb::none();
  return nb::bytes(points.data(), points.size());
}

std::unique_ptr<RecordingTable> make_table(const nb::list& tables, const nb::list& kinds) {
  std::vector<RecordingTable::Kind> plain;
  for (nb::handle kind : kinds) plain.push_back(nb::cast<RecordingTable::Kind>(kind));
  auto made = std::make_unique<RecordingTable>(plain);
  for (nb::handle table : tables) {
    const auto stream = nb::cast<nb::capsule>(table.attr("__arrow_c_stream__")());
    made->add(static_cast<ArrowArrayStream*>(stream.data("arrow_array_stream")));
  }
  return made;
}

void check_number(const RecordingTable& table, int64_t number) {
  if (number < 0 || number >= table.size())
    throw std::invalid_argument("there is no recording " + std::to_string(number));
}

nb::str to_python(std::string_view text) { return nb::str(text.data(), text.size()); }

nb::str path_of(const RecordingTable& table, int64_t number) {
  check_number(table, number);
  return to_python(table.path(number));
}

nb::tuple names(const RecordingTable& table, const Numbers& numbers) {
  const auto count = static_cast<Py_ssize_t>(numbers.size());
  nb::object ids = nb::steal(PyTuple_New(count)), paths = nb::steal(PyTuple_New(count));
  if (!ids.is_valid() || !paths.is_valid()) throw nb::python_error();
  nb::object id, path;
  for (Py_ssize_t i = 0; i < count; ++i) {
    const int64_t number = numbers.data()[i];
    if (i == 0 || number != numbers.data()[i - 1]) {  // neighbours often are of one recording
      check_number(table, number);
      id = to_python(table.id(number));
      path = to_python(table.path(number));
    }
    PyTuple_SET_ITEM(ids.ptr(), i, nb::object(id).release().ptr());
    PyTuple_SET_ITEM(paths.ptr(), i, nb::object(path).release().ptr());
  }
  return nb::make_tuple(ids, paths);
}

nb::list table_columns() {
  nb::list found;
  for (const auto& column : RecordingTable::columns()) found.append(column.first);
  return found;
}

std::vector<int64_t> read_bounds(const Numbers& recordings, const Numbers& starts, int64_t size) {
  if (recordings.size() != starts.size())
    throw std::invalid_argument("recordings and starts must be of one length");
  return split_reads(recordings.data(), starts.data(), static_cast<int64_t>(starts.size()), size);
}

// A Reader that owns what it refers to.
class PyReader {
 public:
  PyReader(const nb::list& formats, nb::object table, const LibsndfileFunctions& library,
           const std::string& instruction_set, int64_t size, int channel, const ScratchSize& scratch,
           int64_t idle_limit)
      : owned_formats_(formats),
        owned_table_(std::move(table)),
        table_(nb::cast<const RecordingTable&>(owned_table_)),
        size_(size),
        planes_(scratch.planes) {
    std::vector<RecordingFormat> plain;
    for (nb::handle format : owned_formats_)
      plain.push_back(nb::cast<const PyRecordingFormat&>(format).plain);
    format_count_ = static_cast<int>(plain.size());
    reader_ = std::make_unique<Reader>(std::move(plain), library,
                                       find_instruction_set(instruction_set).resample, size, channel,
                                       scratch, idle_limit);
  }

  ReadResult read(const Numbers& recordings, const Numbers& starts, nb::handle rows, const Flag& cancel,
                  const std::optional<Words>& heartbeat, const nb::object& find) {
    const std::vector<float*> pointers = row_pointers(rows);
    const std::vector<int64_t> bounds = read_bounds(recordings, starts, size_);
    if (starts.size() > pointers.size()) throw std::invalid_argument("there are fewer rows than windows");
    if (cancel.size() < 1) throw std::invalid_argument("cancel must hold a byte");
    if (heartbeat && heartbeat->size() * sizeof(uint32_t) < sizeof(Heartbeat))
      throw std::invalid_argument("heartbeat must hold three words");
    std::vector<RecordingFile> files(bounds.size());  // stay where they are
    std::vector<ReadRequest> requests;
    std::vector<float*> unread;
    requests.reserve(bounds.size());
    for (size_t i = 0; i < bounds.size(); ++i) {
      const int64_t begin = bounds[i];
      const int64_t stop = i + 1 < bounds.size() ? bounds[i + 1] : static_cast<int64_t>(starts.size());
      const int64_t number = recordings.data()[begin];
      files[i].id = number;
      if (number == UNREAD) {
        unread.insert(unread.end(), pointers.begin() + begin, pointers.begin() + stop);
        continue;
      }
      check_number(table_, number);
      if (starts.data()[begin] < 0) throw std::invalid_argument("starts must be from 0 on");
      if (!find.is_none()) files[i] = nb::cast<const PyRecordingFile&>(find(number)).plain;
      requests.push_back({&files[i], {starts.data() + begin, starts.data() + stop}, begin});
    }
    auto* beat = heartbeat ? reinterpret_cast<Heartbeat*>(heartbeat->data()) : nullptr;
    const auto* flag = reinterpret_cast<const CancelFlag*>(cancel.data());
    const bool look_up = find.is_none();
    const WithoutGil released;
    for (size_t i = 0; i < files.size() && look_up; ++i)
      if (files[i].id != UNREAD) files[i] = table_.file(files[i].id);
    for (const RecordingFile& file : files)
      if (file.format < 0 || file.format >= format_count_)
        throw std::invalid_argument("a recording's format is not one of the reader's");
    for (float* row : unread) std::memset(row, 0, static_cast<size_t>(planes_ * size_) * sizeof(float));
    return reader_->read(requests, pointers.data(), flag, beat);
  }

  void close() {
    // Not WithoutGil: the interpreter's main thread comes here while the interpreter is finalized.
    nb::gil_scoped_release release;
    reader_->close();
  }
  int64_t most_open() const { return reader_->most_open(); }

 private:
  std::vector<float*> row_pointers(nb::handle rows) const {
    const size_t row_floats = static_cast<size_t>(planes_ * size_);
    std::vector<float*> pointers;
    if (nb::isinstance<nb::list>(rows)) {
      for (nb::handle row : nb::cast<nb::list>(rows)) {
        const Rows array = nb::cast<Rows>(row, false);
        if (array.size() != row_floats)
          throw std::invalid_argument("a row must hold " + std::to_string(row_floats) + " samples");
        pointers.push_back(array.data());
      }
      return pointers;
    }
    const Rows array = nb::cast<Rows>(rows, false);
    if (array.ndim() < 2 || array.size() != array.shape(0) * row_floats)
      throw std::invalid_argument("each of the rows must hold " + std::to_string(row_floats) +
                                  " samples");
    for (size_t i = 0; i < array.shape(0); ++i) pointers.push_back(array.data() + i * row_floats);
    return pointers;
  }

  nb::tuple owned_formats_;  // with their filters and openers
  nb::object owned_table_;
  const RecordingTable& table_;
  int64_t size_, planes_;
  int format_count_ = 0;
  std::unique_ptr<Reader> reader_;
};

}  // namespace

void bind_reader(nb::module_& m) {
  m.attr("MIX") = MIX;
  m.attr("ALL") = Reader::ALL;
  m.attr("UNREAD") = UNREAD;
  nb::class_<PyRecordingFormat>(m, "RecordingFormat")
      .def("__init__", &make_recording_format, nb::kw_only(), "source"_a, "filter"_a, "output_up"_a,
           "output_down"_a, "chunk"_a, "history"_a)
      .def_ro("source", &PyRecordingFormat::source)
      .def_ro("filter", &PyRecordingFormat::filter)
      .def_prop_ro("output_up", [](const PyRecordingFormat& f) { return f.plain.output_up; })
      .def_prop_ro("output_down", [](const PyRecordingFormat& f) { return f.plain.output_down; })
      .def_prop_ro("chunk", [](const PyRecordingFormat& f) { return f.plain.chunk; })
      .def_prop_ro("history", [](const PyRecordingFormat& f) { return f.plain.history; });
  nb::class_<PyLandmarks>(m, "Landmarks").def(nb::init<>());
  nb::class_<PyRecordingFile>(m, "RecordingFile")
      .def("__init__", &make_recording, nb::kw_only(), "id"_a, "format"_a, "frames"_a, "file_bytes"_a,
           "place"_a, "seek_points"_a = nb::none(), "landmarks"_a.none() = nb::none(), "name"_a = "")
      .def_prop_ro("id", &recording_field<&RecordingFile::id>)
      .def_prop_ro("format", &recording_field<&RecordingFile::format>)
      .def_prop_ro("frames", &recording_field<&RecordingFile::frames>)
      .def_prop_ro("file_bytes", &recording_field<&RecordingFile::file_bytes>)
      .def_ro("place", &PyRecordingFile::place)
      .def_prop_ro("seek_points", &recording_seek_points);
  nb::class_<RecordingTable>(m, "RecordingTable")
      .def(nb::new_(&make_table), "tables"_a, "kinds"_a)
      .def("__len__", &RecordingTable::size)
      .def("path", &path_of, "number"_a)
      .def("names", &names, "numbers"_a);
#ifndef _WIN32
  nb::enum_<FlacRange::Kind>(m, "FlacRangeKind")
      .value("EXACT", FlacRange::EXACT)
      .value("LIKELY", FlacRange::LIKELY)
      .value("UNSURE", FlacRange::UNSURE)
      .value("PROBE", FlacRange::PROBE)
      .value("HEADER", FlacRange::HEADER);
  m.def("search_flac", &search, "recording"_a, "start"_a, "stop"_a, "begin"_a, "end"_a, nb::kw_only(),
        "steps"_a, "probed"_a);
#endif
  m.attr("TABLE_COLUMNS") = table_columns();
  m.def("read_bounds", &read_bounds, "recordings"_a, "starts"_a, "size"_a);
  nb::class_<LostWindow>(m, "LostWindow")
      .def_ro("row", &LostWindow::row)
      .def_ro("code", &LostWindow::code)
      .def_prop_ro("message", [](const LostWindow& window) { return to_str(window.message); });
  nb::class_<ReadResult>(m, "ReadResult")
      .def_prop_ro("lost", [](const ReadResult& result) { return result.lost; })
      .def_ro("decode_s", &ReadResult::decode_s)
      .def_ro("resample_s", &ReadResult::resample_s)
      .def_ro("busy_s", &ReadResult::busy_s)
      .def_ro("store_s", &ReadResult::store_s)
      .def_ro("cancelled", &ReadResult::cancelled);
  nb::class_<ScratchSize>(m, "ScratchSize")
      .def(
          "__init__",
          [](ScratchSize* self, int64_t pcm_bytes, int64_t planes, int64_t inputs, int64_t outputs) {
            new (self) ScratchSize{pcm_bytes, planes, inputs, outputs};
          },
          nb::kw_only(), "pcm_bytes"_a, "planes"_a, "inputs"_a, "outputs"_a)
      .def_ro("pcm_bytes", &ScratchSize::pcm_bytes)
      .def_ro("planes", &ScratchSize::planes)
      .def_ro("inputs", &ScratchSize::inputs)
      .def_ro("outputs", &ScratchSize::outputs);
  nb::class_<PyReader>(m, "Reader")
      .def(nb::init<const nb::list&, nb::object, const LibsndfileFunctions&, const std::string&, int64_t, int,
                    const ScratchSize&, int64_t>(),
           nb::kw_only(), "formats"_a, "table"_a, "library"_a, "instruction_set"_a, "size"_a, "channel"_a,
           "scratch"_a, "idle_limit"_a)
      .def("read", &PyReader::read, "recordings"_a, "starts"_a, "rows"_a, "cancel"_a,
           "heartbeat"_a = nb::none(), "find"_a = nb::none())
      .def("close", &PyReader::close)
      .def_prop_ro("most_open", &PyReader::most_open);
}

}  // namespace headrace
