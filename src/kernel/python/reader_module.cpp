// The Python face of Reader: turns its arguments into plain values, lets go of the GIL, calls.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "python/bindings.h"
#include "sources/mp3_index.h"
#include "python/python_source.h"
#include "reader/reader.h"
#ifndef _WIN32
#include "sources/flac_file.h"
#endif
#include "reader/verify.h"
#include "python/without_gil.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace headrace {
namespace {

using Rows = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using Flag = nb::ndarray<unsigned char, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

constexpr int64_t LONGEST = int64_t{1} << 44;  // frames: years; times a rate it still fits 63 bits

std::string path_of(nb::handle bytes) {
  const nb::bytes path = nb::cast<nb::bytes>(bytes);
#ifdef _WIN32
  return std::string(path.c_str(), path.size()) + std::string(2, '\0');  // UTF-16
#else
  return std::string(path.c_str(), path.size());
#endif
}

template <typename Function>
Function* address(const nb::dict& library, const char* name) {
  return reinterpret_cast<Function*>(nb::cast<uintptr_t>(library[name]));
}

Sndfile library_of(const nb::dict& library) {
  Sndfile functions;
  functions.open = address<void*(const void*, int, Sndfile::Info*)>(library, "open");
  functions.close = address<int(void*)>(library, "close");
  functions.seek = address<int64_t(void*, int64_t, int)>(library, "seek");
  const char* const reads[] = {"readf_short", "readf_int", "readf_float", "readf_double"};
  for (int i = 0; i < 4; ++i)
    functions.readf[i] = address<int64_t(void*, void*, int64_t)>(library, reads[i]);
  functions.error = address<int(void*)>(library, "error");
  functions.strerror = address<const char*(void*)>(library, "strerror");
  functions.open_virtual = address<void*(Sndfile::Virtual*, int, Sndfile::Info*, void*)>(
      library, "open_virtual");
  return functions;
}

// A kind of recording, of native.facts_of, which has to outlive it.
Facts facts_of(const nb::tuple& t) {
  Facts facts{{},
               0,
               nb::cast<int>(t[0]),
               nb::cast<int>(t[1]),
               nb::cast<int>(t[2]),
               static_cast<SampleType>(nb::cast<int>(t[3])),
               nb::cast<bool>(t[4]),
               nb::cast<int>(t[5])};
  PyObject* opener = nb::object(t[6]).ptr();
  if (opener == Py_None) return facts;
  if (facts.type != SampleType::FLOAT32 || facts.seekable)
    throw std::invalid_argument("what Python opens is of float32, and does not seek");
  facts.opener = [opener](const Facts& one) { return open_python(opener, one); };
  return facts;
}

nb::str text_of(const std::string& message) {  // a decoder's, in whatever encoding
  return nb::steal<nb::str>(PyUnicode_DecodeUTF8(
      message.data(), static_cast<Py_ssize_t>(message.size()), "replace"));
}

// A Reader and what it refers to.
class PyReader {
 public:
  PyReader(nb::list kinds, nb::dict library, const std::string& instruction_set, int64_t size,
           int channel, nb::tuple scratch, int64_t idle)
      : kinds_(kinds), size_(size) {
    std::vector<Kind> plain;
    for (nb::handle one : kinds) {
      const nb::tuple t = nb::cast<nb::tuple>(one);
      Kind kind;
      kind.facts = facts_of(t);
      kind.filter = nb::cast<const Filter*>(t[7]);
      kind.output_up = nb::cast<int64_t>(t[8]);
      kind.output_down = nb::cast<int64_t>(t[9]);
      kind.chunk = nb::cast<int64_t>(t[10]);
      kind.keep = nb::cast<int64_t>(t[11]);
      plain.push_back(kind);
    }
    kinds_count_ = static_cast<int>(plain.size());
    planes_ = nb::cast<int64_t>(scratch[1]);
    reader_ = std::make_unique<Reader>(
        std::move(plain), library_of(library), find_instruction_set(instruction_set), size, channel,
        ScratchSize{nb::cast<int64_t>(scratch[0]), planes_, nb::cast<int64_t>(scratch[2]),
                    nb::cast<int64_t>(scratch[3])},
        idle);
  }

  // recordings: (id, kind, frames, bytes, path, seek points or None); reads: (recording, starts, row);
  // rows: one array of all the unit's rows, or a list with an array for each.
  nb::tuple read(nb::list recordings, nb::list reads, nb::object rows, Flag cancel,
                 std::optional<Words> beat) {
    std::vector<Recording> files;
    for (nb::handle one : recordings) {
      const nb::tuple t = nb::cast<nb::tuple>(one);
      files.push_back(Recording{nb::cast<int64_t>(t[0]), nb::cast<int>(t[1]),
                                nb::cast<int64_t>(t[2]), nb::cast<int64_t>(t[3]), path_of(t[4]), {}});
      if (!t[5].is_none()) {
        const nb::bytes points = nb::cast<nb::bytes>(t[5]);
        files.back().seek_points.assign(points.c_str(), points.size());
      }
      if (files.back().kind < 0 || files.back().kind >= kinds_count_ || files.back().frames < 0 ||
          files.back().frames > LONGEST)
        throw std::invalid_argument("a recording's kind or length is out of range");
    }
    const std::vector<float*> pointers = pointers_of(rows);
    std::vector<Read> plain;
    for (nb::handle one : reads) {
      const nb::tuple t = nb::cast<nb::tuple>(one);
      Read read{nb::cast<int>(t[0]), nb::cast<std::vector<int64_t>>(t[1]), nb::cast<int64_t>(t[2])};
      if (read.recording < 0 || read.recording >= static_cast<int>(files.size()) ||
          read.starts.empty() || read.starts[0] < 0 || read.row < 0 ||
          read.row + read.starts.size() > pointers.size())
        throw std::invalid_argument("a read is out of range");
      for (size_t i = 1; i < read.starts.size(); ++i)
        if (read.starts[i] < read.starts[i - 1] || read.starts[i] > read.starts[i - 1] + size_)
          throw std::invalid_argument("a read's windows have to follow or overlap each other");
      plain.push_back(std::move(read));
    }
    if (cancel.size() < 1) throw std::invalid_argument("cancel has to be a byte");
    if (beat && beat->size() * sizeof(uint32_t) < sizeof(Beat))
      throw std::invalid_argument("beat has to be three words");
    volatile Beat* pulse = beat ? reinterpret_cast<volatile Beat*>(beat->data()) : nullptr;
    Outcome outcome;
    {
      const WithoutGil released;
      outcome = reader_->read(files, plain, pointers.data(), cancel.data(), pulse);
    }
    nb::list lost;
    for (const Lost& one : outcome.lost)
      lost.append(nb::make_tuple(one.row, one.code, text_of(one.message)));
    return nb::make_tuple(lost, outcome.decode_s, outcome.resample_s, outcome.busy_s,
                          outcome.cancelled);
  }

  void close() {
    // Not WithoutGil: the interpreter's own thread comes here while it is being taken down.
    nb::gil_scoped_release release;
    reader_->close();
  }
  int64_t most_open() const { return reader_->most_open(); }

 private:
  std::vector<float*> pointers_of(nb::handle rows) const {
    const size_t row_floats = static_cast<size_t>(planes_ * size_);
    std::vector<float*> pointers;
    if (nb::isinstance<nb::list>(rows)) {
      for (nb::handle row : nb::cast<nb::list>(rows)) {
        const Rows array = nb::cast<Rows>(row, false);
        if (array.size() != row_floats) throw std::invalid_argument("a row has another size");
        pointers.push_back(array.data());
      }
      return pointers;
    }
    const Rows array = nb::cast<Rows>(rows, false);
    if (array.ndim() < 2 || array.size() != array.shape(0) * row_floats)
      throw std::invalid_argument("the rows have another size");
    for (size_t i = 0; i < array.shape(0); ++i) pointers.push_back(array.data() + i * row_floats);
    return pointers;
  }

  nb::list kinds_;  // keeps the filters and the openers
  int64_t size_, planes_ = 0;
  int kinds_count_ = 0;
  std::unique_ptr<Reader> reader_;
};

nb::tuple verify_file(nb::tuple kind, nb::dict library, int64_t frames, nb::bytes path,
                      nb::bytes seek_points, Flag cancel) {
  Facts facts = facts_of(kind);
  if (cancel.size() < 1) throw std::invalid_argument("cancel has to be a byte");
  if (facts.channels < 1) throw std::invalid_argument("there has to be a channel");
  facts.frames = frames;
  facts.path = path_of(path);
  facts.seek_points = std::string(seek_points.c_str(), seek_points.size());
  const Sndfile functions = library_of(library);
  Verified result;
  {
    const WithoutGil released;
    result = verify(facts, functions, cancel.data());
  }
  return nb::make_tuple(result.frames, result.non_finite, result.first_bad, result.last_bad,
                        result.code, text_of(result.message), result.seeks, result.cancelled);
}

// Bytes of a piece of memory, for the tests of our own readers.
class Memory : public Bytes {
 public:
  explicit Memory(nb::bytes bytes) : bytes_(bytes) {}
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  int64_t read(int64_t offset, void* to, int64_t count) const override {
    if (offset < 0 || offset >= size()) return 0;
    const int64_t some = std::min(count, size() - offset);
    std::memcpy(to, bytes_.c_str() + offset, static_cast<size_t>(some));
    return some;
  }

 private:
  nb::bytes bytes_;
};

nb::object wav_layout(nb::bytes bytes) {
  WavLayout layout;
  if (!parse_wav(Memory(bytes), &layout)) return nb::none();
  return nb::make_tuple(static_cast<int>(layout.encoding), layout.channels, layout.sample_rate,
                        layout.data_offset, layout.frames);
}

#ifndef _WIN32
// What spans of (start, frames) give, one after the other, of a FLAC file in memory.
nb::object flac_spans(nb::bytes bytes, const std::vector<std::pair<int64_t, int64_t>>& spans) {
  const auto file = FlacFile::open(std::make_unique<Memory>(bytes));
  if (!file) return nb::none();
  const FlacStream& stream = file->stream();
  const int64_t frame_bytes = stream.channels * (stream.bits <= 16 ? 2 : 4);
  nb::list out;
  for (const auto& [start, frames] : spans) {
    if (start < 0 || frames < 0 || start > stream.frames || frames > stream.frames - start)
      throw std::invalid_argument("a span is outside of the file");
    std::vector<char> pcm(static_cast<size_t>(frames * frame_bytes));
    file->seek(start);
    const int64_t got = file->read(pcm.data(), frames);
    out.append(nb::bytes(pcm.data(), static_cast<size_t>(got * frame_bytes)));
  }
  return out;
}
#endif

// The packed Mp3Index of a file of which `frames` are declared, or None; OSError never.
nb::object seek_points(nb::bytes path, int64_t frames) {
#ifndef _WIN32
  const std::string plain = path_of(path);
  std::string packed;
  bool found = false;
  {
    const WithoutGil released;
    Mp3Index index;
    try {
      found = index_mp3(*open_bytes(plain), frames, &index);
    } catch (const Fault&) {  // whoever decodes it will say so
    }
    if (found) packed = pack(index);
  }
  if (found) return nb::bytes(packed.data(), packed.size());
#endif
  return nb::none();
}

}  // namespace

void bind_reader(nb::module_& m) {
  m.attr("ALL") = Reader::ALL;
  m.def("wav_layout", &wav_layout, "bytes"_a);
#ifndef _WIN32
  m.def("flac_spans", &flac_spans, "bytes"_a, "spans"_a);
#endif
  m.def("verify", &verify_file, "kind"_a, "library"_a, "frames"_a, "path"_a,
        "seek_points"_a, "cancel"_a);
  m.def("seek_points", &seek_points, "path"_a, "frames"_a);
  nb::class_<PyReader>(m, "Reader")
      .def(nb::init<nb::list, nb::dict, const std::string&, int64_t, int, nb::tuple, int64_t>(),
           "kinds"_a, "library"_a, "instruction_set"_a, "size"_a, "channel"_a, "scratch"_a, "idle"_a)
      .def("read", &PyReader::read, "recordings"_a, "reads"_a, "rows"_a, "cancel"_a,
           "beat"_a = nb::none())
      .def("close", &PyReader::close)
      .def_prop_ro("most_open", &PyReader::most_open);
}

}  // namespace headrace
