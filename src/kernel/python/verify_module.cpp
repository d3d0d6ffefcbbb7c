// Binds what the scan calls for a whole file: verify() and seek_points().
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "python/bindings.h"
#include "python/text.h"
#include "python/without_gil.h"
#include "reader/verify.h"
#include "sources/bytes.h"
#include "sources/decode_error.h"
#include "sources/libsndfile.h"
#ifndef _WIN32
#include "sources/mp3_index.h"
#endif

namespace nb = nanobind;
using namespace nb::literals;

namespace headrace {
namespace {

using Flag = nb::ndarray<unsigned char, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

VerifyResult verify_file(const PySourceFormat& format, const LibsndfileFunctions& library,
                         const nb::bytes& path, int64_t frames,
                         const std::optional<nb::bytes>& seek_points, Flag cancel) {
  if (cancel.size() < 1) throw std::invalid_argument("cancel must hold a byte");
  SourceSpec spec;
  spec.format = format.plain;
  spec.path = path_from(path);
  spec.frames = frames;
  if (seek_points) spec.seek_points.assign(seek_points->c_str(), seek_points->size());
  const WithoutGil released;
  return verify(spec, library, reinterpret_cast<const CancelFlag*>(cancel.data()));
}

nb::object find_seek_points(const nb::bytes& path, int64_t frames) {
#ifdef _WIN32
  (void)path, (void)frames;
#else
  const std::string plain = path_from(path);
  std::string packed;
  bool found = false;
  {
    const WithoutGil released;
    Mp3Index index;
    try {
      found = index_mp3(*open_bytes(plain), frames, &index);
    } catch (const DecodeError&) {  // decoding the file reports it
    }
    if (found) packed = pack(index);
  }
  if (found) return nb::bytes(packed.data(), packed.size());
#endif
  return nb::none();
}

}  // namespace

void bind_verify(nb::module_& m) {
  nb::class_<VerifyResult>(m, "VerifyResult")
      .def(
          "__init__",
          [](VerifyResult* self, int64_t frames, int64_t non_finite_samples, int64_t first_non_finite,
             int64_t last_non_finite, std::string code, std::string message, bool seek_points_exact,
             bool cancelled) {
            new (self) VerifyResult{frames,          non_finite_samples, first_non_finite,
                                    last_non_finite, std::move(code),    std::move(message),
                                    seek_points_exact, cancelled};
          },
          nb::kw_only(), "frames"_a, "non_finite_samples"_a = 0, "first_non_finite"_a = 0,
          "last_non_finite"_a = 0, "code"_a = "", "message"_a = "", "seek_points_exact"_a = true,
          "cancelled"_a = false)
      .def_ro("frames", &VerifyResult::frames)
      .def_ro("non_finite_samples", &VerifyResult::non_finite_samples)
      .def_ro("first_non_finite", &VerifyResult::first_non_finite)
      .def_ro("last_non_finite", &VerifyResult::last_non_finite)
      .def_ro("code", &VerifyResult::code)
      .def_prop_ro("message", [](const VerifyResult& result) { return to_str(result.message); })
      .def_ro("seek_points_exact", &VerifyResult::seek_points_exact)
      .def_ro("cancelled", &VerifyResult::cancelled);
  m.def("verify", &verify_file, "format"_a, "library"_a, nb::kw_only(), "path"_a, "frames"_a,
        "seek_points"_a = nb::none(), "cancel"_a);
  m.def("seek_points", &find_seek_points, "path"_a, "frames"_a);
}

}  // namespace headrace
