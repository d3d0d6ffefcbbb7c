// Binds what the scan calls for a file: verify(), scan_mp3(), probe_header() and repaired_header().
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "python/bindings.h"
#include "python/text.h"
#include "python/without_gil.h"
#include "reader/verify.h"
#include "sources/decode_error.h"
#include "sources/libsndfile.h"
#include "sources/place.h"
#ifndef _WIN32
#include "sources/mp3_index.h"
#include "sources/probe_header.h"
#include "sources/repaired.h"
#endif

namespace nb = nanobind;
using namespace nb::literals;

namespace headrace {
namespace {

#ifndef _WIN32
struct PyMp3Scan {
  Mp3Scan plain;
  std::string seek_points;
};
#endif

using Flag = nb::ndarray<unsigned char, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

VerifyResult verify_file(const PySourceFormat& format, const LibsndfileFunctions& library,
                         const PyPlace& place, int64_t frames,
                         const std::optional<nb::bytes>& seek_points, Flag cancel) {
  if (cancel.size() < 1) throw std::invalid_argument("cancel must hold a byte");
  SourceSpec spec;
  spec.format = format.plain;
  spec.place = place.plain;
  spec.frames = frames;
  if (seek_points) spec.seek_points.assign(seek_points->c_str(), seek_points->size());
  const WithoutGil released;
  return verify(spec, library, reinterpret_cast<const CancelFlag*>(cancel.data()));
}

#ifndef _WIN32
nb::object scan_mp3_file(const PyPlace& place) {
  PyMp3Scan found;
  bool is_mp3 = false;
  {
    const WithoutGil released;
    try {
      is_mp3 = scan_mp3(*open_bytes(place.plain), &found.plain);
    } catch (const DecodeError&) {  // opening the file with libsndfile reports it
    }
    if (is_mp3 && found.plain.index.frames) found.seek_points = pack(found.plain.index);
  }
  return is_mp3 ? nb::cast(found) : nb::none();
}

nb::bytes only_from_start(const nb::bytes& seek_points) {
  Mp3Index index;
  std::string packed;
  if (unpack(seek_points.c_str(), seek_points.size(), &index) && index.samples) {
    index.random_access = false;
    packed = pack(index);
  }
  return nb::bytes(packed.data(), packed.size());
}
#else
nb::object scan_mp3_file(const PyPlace&) { return nb::none(); }
nb::bytes only_from_start(const nb::bytes&) { return nb::bytes("", 0); }
#endif

nb::object find_repaired_header(const PyPlace& place, const LibsndfileFunctions& library) {
#ifdef _WIN32
  (void)place, (void)library;
#else
  LibsndfileFunctions::Info info;
  bool found = false;
  {
    const WithoutGil released;
    try {
      found = probe_repaired(*open_bytes(place.plain), library, &info);
    } catch (const DecodeError&) {  // libsndfile reports it
    }
  }
  if (found) return nb::make_tuple(info.format, info.samplerate, info.channels, info.frames);
#endif
  return nb::none();
}

nb::object probe(const PyPlace& place, bool believe_flac) {
#ifdef _WIN32
  (void)place;
  (void)believe_flac;
#else
  AudioHeader header;
  bool found = false;
  {
    const WithoutGil released;
    try {
      found = probe_header(open_bytes(place.plain), &header, believe_flac);
    } catch (const DecodeError&) {  // libsndfile reports it
    }
  }
  if (found) {
    const nb::bytes points(header.seek_points.data(), header.seek_points.size());
    return nb::make_tuple(header.format, header.subtype, header.sample_rate, header.channels, header.frames,
                          header.agrees, points);
  }
#endif
  return nb::none();
}

}  // namespace

void bind_verify(nb::module_& m) {
  nb::class_<VerifyResult>(m, "VerifyResult")
      .def(
          "__init__",
          [](VerifyResult* self, int64_t frames, std::vector<std::pair<int64_t, int64_t>> lost,
             int64_t non_finite_samples, int64_t first_non_finite,
             int64_t last_non_finite, std::string code, std::string message, bool seek_points_exact,
             bool cancelled) {
            new (self) VerifyResult{frames,           std::move(lost),   non_finite_samples,
                                    first_non_finite, last_non_finite,   std::move(code),
                                    std::move(message), seek_points_exact, cancelled};
          },
          nb::kw_only(), "frames"_a, "lost"_a = std::vector<std::pair<int64_t, int64_t>>(),
          "non_finite_samples"_a = 0, "first_non_finite"_a = 0,
          "last_non_finite"_a = 0, "code"_a = "", "message"_a = "", "seek_points_exact"_a = true,
          "cancelled"_a = false)
      .def_ro("frames", &VerifyResult::frames)
      .def_ro("lost", &VerifyResult::lost)
      .def_ro("non_finite_samples", &VerifyResult::non_finite_samples)
      .def_ro("first_non_finite", &VerifyResult::first_non_finite)
      .def_ro("last_non_finite", &VerifyResult::last_non_finite)
      .def_ro("code", &VerifyResult::code)
      .def_prop_ro("message", [](const VerifyResult& result) { return to_str(result.message); })
      .def_ro("seek_points_exact", &VerifyResult::seek_points_exact)
      .def_ro("cancelled", &VerifyResult::cancelled);
  m.def("verify", &verify_file, "format"_a, "library"_a, nb::kw_only(), "place"_a, "frames"_a,
        "seek_points"_a = nb::none(), "cancel"_a);
  m.def("probe_header", &probe, "place"_a, "believe_flac"_a = false);
  m.def("repaired_header", &find_repaired_header, "place"_a, "library"_a);
#ifndef _WIN32
  nb::class_<PyMp3Scan>(m, "Mp3Scan")
      .def_prop_ro("seek_points",
                   [](const PyMp3Scan& scan) {
                     return nb::bytes(scan.seek_points.data(), scan.seek_points.size());
                   })
      .def_prop_ro("layer", [](const PyMp3Scan& scan) { return scan.plain.layer; })
      .def_prop_ro("sample_rate", [](const PyMp3Scan& scan) { return scan.plain.sample_rate; })
      .def_prop_ro("channels", [](const PyMp3Scan& scan) { return scan.plain.channels; })
      .def_prop_ro("frames", [](const PyMp3Scan& scan) { return scan.plain.length; })
      .def_prop_ro("packets", [](const PyMp3Scan& scan) { return scan.plain.index.frames; })
      .def_prop_ro("packet_frames", [](const PyMp3Scan& scan) { return scan.plain.index.samples; })
      .def_prop_ro("declared_packets", [](const PyMp3Scan& scan) { return scan.plain.declared; })
      .def_prop_ro("foreign_packets", [](const PyMp3Scan& scan) { return scan.plain.foreign_frames; })
      .def_prop_ro("foreign_frames", [](const PyMp3Scan& scan) { return scan.plain.foreign_samples; })
      .def_prop_ro("foreign_at", [](const PyMp3Scan& scan) { return scan.plain.foreign_at; })
      .def_prop_ro("foreign_sample_rate", [](const PyMp3Scan& scan) { return scan.plain.foreign_rate; })
      .def_prop_ro("foreign_channels", [](const PyMp3Scan& scan) { return scan.plain.foreign_channels; })
      .def_prop_ro("damaged_bytes", [](const PyMp3Scan& scan) { return scan.plain.damaged_bytes; })
      .def_prop_ro("damaged_packets", [](const PyMp3Scan& scan) { return scan.plain.damaged_frames; })
      .def_prop_ro("damaged_at", [](const PyMp3Scan& scan) { return scan.plain.damaged_at; });
#endif
  m.def("scan_mp3", &scan_mp3_file, "place"_a);
  m.def("only_from_start", &only_from_start, "seek_points"_a);
}

}  // namespace headrace
