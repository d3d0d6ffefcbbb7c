// Binds headrace._kernel.testing: parts of the kernel that only tests and benchmarks call by themselves.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "arithmetic/convert.h"
#include "arithmetic/float_mode.h"
#include "python/bindings.h"
#include "sources/bytes.h"
#include "sources/decode_error.h"
#include "sources/place.h"
#include "sources/wav_layout.h"
#ifndef _WIN32
#include "sources/crc32.h"
#include "sources/flac_file.h"
#endif

namespace nb = nanobind;
using namespace nb::literals;

namespace headrace {
namespace {

template <typename T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A Python bytes object as a file.
class Memory : public Bytes {
 public:
  explicit Memory(nb::bytes bytes) : bytes_(std::move(bytes)) {}
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

// A store of one object that fails: its first `reads` reads succeed, and no other.
class FaultyStore : public ByteStore {
 public:
  FaultyStore(std::string object, int64_t reads, std::string code, std::string message)
      : object_(std::make_shared<const std::string>(std::move(object))),
        left_(std::make_shared<std::atomic<int64_t>>(reads)),
        error_(code, message) {}
  std::unique_ptr<Bytes> open(const std::string&) override { return std::make_unique<Faulty>(*this); }

 private:
  class Faulty : public Bytes {
   public:
    explicit Faulty(const FaultyStore& store) : object_(store.object_), left_(store.left_), error_(store.error_) {}
    int64_t size() const override { return static_cast<int64_t>(object_->size()); }
    int64_t read(int64_t offset, void* to, int64_t count) const override {
      if (left_->fetch_sub(1) <= 0) throw error_;
      if (offset < 0 || offset >= size()) return 0;
      const int64_t some = std::min(count, size() - offset);
      std::memcpy(to, object_->data() + offset, static_cast<size_t>(some));
      return some;
    }

   private:
    const std::shared_ptr<const std::string> object_;
    const std::shared_ptr<std::atomic<int64_t>> left_;
    const DecodeError error_;
  };

  const std::shared_ptr<const std::string> object_;
  const std::shared_ptr<std::atomic<int64_t>> left_;
  const DecodeError error_;
};

struct PyFaultyStore : PyByteStore {};

void make_faulty_store(PyFaultyStore* self, const nb::bytes& object, int64_t reads, const std::string& code,
                       const std::string& message) {
  new (self) PyFaultyStore{
      {std::make_shared<FaultyStore>(std::string(object.c_str(), object.size()), reads, code, message)}};
}

template <typename Sample>
bool convert_checked(Vector<const Sample> pcm, int channels, int channel, Vector<float> out) {
  if (channels < 1 || channel < MIX || channel >= channels)
    throw std::invalid_argument("there is no such channel");
  if (pcm.size() != out.size() * static_cast<size_t>(channels))
    throw std::invalid_argument("pcm must hold frames x channels samples, and out must hold frames");
  nb::gil_scoped_release release;
  const DefaultFloatMode mode;
  return convert(pcm.data(), static_cast<int64_t>(out.size()), channels, channel, out.data());
}

nb::object wav_layout(const nb::bytes& file) {
  WavLayout layout;
  if (!parse_wav(Memory(file), &layout)) return nb::none();
  return nb::cast(layout);
}

#ifndef _WIN32
nb::object flac_spans(const nb::bytes& file_bytes, const std::vector<std::pair<int64_t, int64_t>>& spans,
                      std::optional<int64_t> frames_given) {
  auto bytes = std::make_unique<Memory>(file_bytes);
  const auto file = frames_given ? FlacFile::open(std::move(bytes), *frames_given, 0)
                                 : FlacFile::measure(std::move(bytes));
  if (!file) return nb::none();
  const FlacStream& stream = file->stream();
  const int64_t frame_bytes = stream.channels * (stream.bits <= 16 ? 2 : 4);
  nb::list decoded;
  for (const auto& [start, frames] : spans) {
    if (start < 0 || frames < 0 || start > file->frames() || frames > file->frames() - start)
      throw std::invalid_argument("a span is outside of the file");
    std::vector<char> pcm(static_cast<size_t>(frames * frame_bytes));
    file->seek(start);
    const int64_t got = file->read(pcm.data(), frames);
    decoded.append(nb::bytes(pcm.data(), static_cast<size_t>(got * frame_bytes)));
  }
  return decoded;
}
#endif

template <typename Sample>
void bind_convert(nb::module_& m) {
  m.def("convert", &convert_checked<Sample>, "pcm"_a.noconvert(), "channels"_a, "channel"_a,
        "out"_a.noconvert());
}

}  // namespace

void bind_testing(nb::module_& m) {
  bind_convert<int16_t>(m);
  bind_convert<int32_t>(m);
  bind_convert<float>(m);
  bind_convert<double>(m);
  nb::class_<PyFaultyStore, PyByteStore>(m, "FaultyStore")
      .def("__init__", &make_faulty_store, nb::kw_only(), "object"_a, "reads"_a, "code"_a, "message"_a);
  nb::class_<WavLayout>(m, "WavLayout")
      .def_ro("encoding", &WavLayout::encoding)
      .def_ro("channels", &WavLayout::channels)
      .def_ro("sample_rate", &WavLayout::sample_rate)
      .def_ro("data_offset", &WavLayout::data_offset)
      .def_ro("frames", &WavLayout::frames);
  m.def("wav_layout", &wav_layout, "file"_a);
#ifndef _WIN32
  m.def("flac_spans", &flac_spans, "file"_a, "spans"_a, "frames"_a = nb::none());
  m.def(
      "crc32",
      [](const nb::bytes& data, uint32_t checksum, bool portable) {
        return (portable ? crc32_portable : crc32)(data.c_str(), data.size(), checksum);
      },
      "data"_a, "checksum"_a = 0, "portable"_a = false);
#endif
}

}  // namespace headrace
