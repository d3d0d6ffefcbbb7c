// Binds what has to do with Ogg: the walk over a file, the index, and the packets for decoders that Python calls.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "python/bindings.h"
#include "python/text.h"
#include "python/without_gil.h"
#include "sources/bytes.h"
#include "sources/decode_error.h"
#include "sources/ogg_feed.h"
#include "sources/ogg_index.h"
#include "sources/ogg_walk.h"
#include "sources/place.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace headrace {
namespace {

// A file that Python has opened, for systems whose files the kernel does not open.
class PythonBytes : public Bytes {
 public:
  explicit PythonBytes(nb::object file) : file_(std::move(file)) {
    size_ = nb::cast<int64_t>(file_.attr("seek")(0, 2));
  }
  ~PythonBytes() override {
    const WithGil held;
    file_.reset();
  }
  PythonBytes(const PythonBytes&) = delete;
  PythonBytes& operator=(const PythonBytes&) = delete;
  int64_t size() const override { return size_; }
  int64_t read(int64_t offset, void* to, int64_t count) const override {
    const WithGil held;
    try {
      file_.attr("seek")(offset);
      const nb::bytes data = nb::cast<nb::bytes>(file_.attr("read")(count));
      const auto got = std::min(count, static_cast<int64_t>(data.size()));
      std::memcpy(to, data.c_str(), static_cast<size_t>(got));
      return got;
    } catch (nb::python_error& error) {
      const nb::object number = nb::getattr(error.value(), "errno", nb::none());
      errno = number.is_none() ? EIO : nb::cast<int>(number);
      return -1;
    }
  }

 private:
  nb::object file_;
  int64_t size_ = 0;
};

// Open a place, or take a file that Python has opened.
std::unique_ptr<Bytes> bytes_of(const nb::object& file) {
#ifndef _WIN32
  if (nb::isinstance<PyPlace>(file)) {
    const Place place = nb::cast<const PyPlace&>(file).plain;
    const WithoutGil released;
    return open_bytes(place);
  }
#endif
  return std::make_unique<PythonBytes>(file);
}

// Run `work`. Return what stopped it as (code, message), or None.
template <typename Work>
nb::object error_of(Work work) {
  try {
    work();
  } catch (const DecodeError& error) {
    return nb::make_tuple(error.code, to_str(error.what()));
  }
  return nb::none();
}

OggRule rule_from(const nb::tuple& rule) {
  const OggRule plain{nb::cast<double>(rule[0]), nb::cast<int64_t>(rule[1]), nb::cast<double>(rule[2])};
  if (!(plain.spacing_s > 0) || plain.pre_roll < 1)
    throw std::invalid_argument("spacing must be positive, and the pre-roll at least 1");
  return plain;
}

// An OggWalk whose errors are values.
class PyOggWalk {
 public:
  PyOggWalk(const nb::object& file, const nb::tuple& vorbis, const nb::tuple& opus) {
    const OggRule vorbis_rule = rule_from(vorbis), opus_rule = rule_from(opus);
    error = error_of([&] { walk = std::make_unique<OggWalk>(bytes_of(file), vorbis_rule, opus_rule); });
  }
  bool advance(int64_t bytes) {
    bool more = false;
    error = error_of([&] {
      const WithoutGil released;
      more = walk->advance(bytes);
    });
    return more;
  }
  nb::bytes packed_index(int64_t decoder_major) const {
    OggIndex index = walk->index();
    index.decoder_major = decoder_major;
    const std::string packed = pack(index);
    return nb::bytes(packed.data(), packed.size());
  }

  nb::object error;
  std::unique_ptr<OggWalk> walk;
};

// An OggFed that owns its bytes.
struct PyOggFed {
  nb::bytes data;
  int64_t position, frames;
  bool primes;
};

class PyOggFeed {
 public:
  PyOggFeed(const nb::object& file, const OggIndex& index) {
    error = error_of([&] {
      feed_ = std::make_unique<OggFeed>(bytes_of(file), index);
      const WithoutGil released;
      feed_->seek(0);
    });
  }
  bool next_run() {
    bool more = false;
    error = error_of([&] {
      const WithoutGil released;
      more = feed_->next_run();
    });
    return more;
  }
  nb::object next() {
    OggFed fed;
    bool more = false;
    error = error_of([&] {
      const WithoutGil released;
      more = feed_->next(&fed);
    });
    if (!more) return nb::none();
    const nb::bytes data(reinterpret_cast<const char*>(fed.data), static_cast<size_t>(fed.size));
    return nb::cast(PyOggFed{data, fed.position, fed.frames, fed.primes});
  }
  nb::tuple run() const {
    const OggRun& run = feed_->run();
    return nb::make_tuple(run.first, run.begin, run.stop);
  }
  nb::bytes extradata() const { return nb::bytes(feed_->extradata().data(), feed_->extradata().size()); }
  std::string complaint() const { return feed_->complaint(); }

  nb::object error;

 private:
  std::unique_ptr<OggFeed> feed_;
};

template <auto Member>
auto defect(const PyOggWalk& self) {
  return self.walk->defects().*Member;
}

void check_frames(const OggIndex& index, int64_t start, int64_t stop) {
  if (start < 0 || start >= stop || stop > index.frames)
    throw std::invalid_argument("start and stop must be a range of the recording's frames");
}

}  // namespace

void bind_ogg(nb::module_& m) {
  nb::class_<PyOggWalk>(m, "OggWalk")
      .def(nb::init<const nb::object&, const nb::tuple&, const nb::tuple&>(), "file"_a, nb::kw_only(),
           "vorbis"_a, "opus"_a)
      .def("advance", &PyOggWalk::advance, "bytes"_a)
      .def_prop_ro("can_skip", [](const PyOggWalk& self) { return self.walk->can_skip(); })
      .def("skip_to", [](PyOggWalk& self, int64_t offset) { self.walk->skip_to(offset); }, "offset"_a)
      .def_prop_ro("is_continuous", [](const PyOggWalk& self) { return self.walk->is_continuous(); })
      .def("packed_index", &PyOggWalk::packed_index, nb::kw_only(), "decoder_major"_a)
      .def_ro("error", &PyOggWalk::error)
      .def_prop_ro("usable", [](const PyOggWalk& self) { return self.walk->usable(); })
      .def_prop_ro("codec", [](const PyOggWalk& self) { return std::string(name_of(self.walk->codec())); })
      .def_prop_ro("sample_rate", [](const PyOggWalk& self) { return self.walk->sample_rate(); })
      .def_prop_ro("channels", [](const PyOggWalk& self) { return self.walk->channels(); })
      .def_prop_ro("frames", [](const PyOggWalk& self) { return self.walk->frames(); })
      .def_prop_ro("extradata",
                   [](const PyOggWalk& self) {
                     const std::string& data = self.walk->first_extradata();
                     return nb::bytes(data.data(), data.size());
                   })
      .def_prop_ro("damaged_bytes", &defect<&OggDefects::damaged_bytes>)
      .def_prop_ro("damaged_packets", &defect<&OggDefects::damaged_packets>)
      .def_prop_ro("damaged_at", &defect<&OggDefects::damaged_at>)
      .def_prop_ro("missing_frames", &defect<&OggDefects::missing_frames>)
      .def_prop_ro("missing_at", &defect<&OggDefects::missing_at>)
      .def_prop_ro("tail_bytes", &defect<&OggDefects::tail_bytes>)
      .def_prop_ro("unended_links", &defect<&OggDefects::unended_links>)
      .def_prop_ro("unended_at", &defect<&OggDefects::unended_at>)
      .def_prop_ro("cut_short", &defect<&OggDefects::cut_short>)
      .def_prop_ro("foreign_codec", &defect<&OggDefects::foreign_codec>)
      .def_prop_ro("foreign_sample_rate", &defect<&OggDefects::foreign_sample_rate>)
      .def_prop_ro("foreign_channels", &defect<&OggDefects::foreign_channels>)
      .def_prop_ro("foreign_s", &defect<&OggDefects::foreign_s>);
  nb::class_<OggAnchor>(m, "OggAnchor")
      .def_ro("start", &OggAnchor::start)
      .def_ro("skip", &OggAnchor::skip)
      .def_ro("offset", &OggAnchor::offset);
  nb::class_<OggLink>(m, "OggLink")
      .def_ro("start", &OggLink::start)
      .def_ro("trim", &OggLink::trim)
      .def_ro("offset", &OggLink::offset)
      .def_ro("setup_offset", &OggLink::setup_offset)
      .def_ro("audio_offset", &OggLink::audio_offset)
      .def_ro("anchors", &OggLink::anchors);
  nb::class_<OggIndex>(m, "OggIndex")
      .def_ro("decoder_major", &OggIndex::decoder_major)
      .def_prop_ro("codec", [](const OggIndex& self) { return std::string(name_of(self.codec)); })
      .def_ro("frames", &OggIndex::frames)
      .def_ro("stop_offset", &OggIndex::stop_offset)
      .def_ro("links", &OggIndex::links)
      .def(
          "byte_range",
          [](const OggIndex& self, int64_t start, int64_t stop) {
            check_frames(self, start, stop);
            return self.byte_range(start, stop);
          },
          "start"_a, "stop"_a)
      .def(
          "header_ranges",
          [](const OggIndex& self, int64_t frame) {
            check_frames(self, frame, frame + 1);
            return self.header_ranges(frame);
          },
          "frame"_a)
      .def("pack", [](const OggIndex& self) {
        const std::string packed = pack(self);
        return nb::bytes(packed.data(), packed.size());
      });
  m.def("unpack_ogg_index", [](const nb::bytes& packed) -> std::optional<OggIndex> {
    OggIndex index;
    if (!unpack(packed.c_str(), packed.size(), &index)) return std::nullopt;
    return index;
  });
  nb::class_<PyOggFed>(m, "OggFed")
      .def_ro("data", &PyOggFed::data)
      .def_ro("position", &PyOggFed::position)
      .def_ro("frames", &PyOggFed::frames)
      .def_ro("primes", &PyOggFed::primes);
  nb::class_<PyOggFeed>(m, "OggFeed")
      .def(nb::init<const nb::object&, const OggIndex&>(), "file"_a, "index"_a)
      .def("next_run", &PyOggFeed::next_run)
      .def("next", &PyOggFeed::next)
      .def_ro("error", &PyOggFeed::error)
      .def_prop_ro("run", &PyOggFeed::run)
      .def_prop_ro("extradata", &PyOggFeed::extradata)
      .def_prop_ro("complaint", &PyOggFeed::complaint);
}

}  // namespace headrace
