// Binds what describes a source: libsndfile's functions and the format of a recording.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "python/bindings.h"
#include "python/python_source.h"
#include "python/text.h"
#include "python/without_gil.h"
#include "sources/decode_error.h"
#include "sources/libsndfile.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace headrace {
namespace {

using Address = uintptr_t;

template <typename Function>
void set_function(Function*& to, Address address) {
  if (!address) throw std::invalid_argument("the address of a function must not be 0");
  to = reinterpret_cast<Function*>(address);
}

void make_functions(LibsndfileFunctions* self, Address open, Address close, Address seek,
                    Address readf_short, Address readf_int, Address readf_float, Address readf_double,
                    Address error, Address strerror, Address open_virtual, Address open_fd) {
  LibsndfileFunctions functions{};
  set_function(functions.open, open);
  set_function(functions.close, close);
  set_function(functions.seek, seek);
  set_function(functions.readf[static_cast<int>(SampleType::INT16)], readf_short);
  set_function(functions.readf[static_cast<int>(SampleType::INT32)], readf_int);
  set_function(functions.readf[static_cast<int>(SampleType::FLOAT32)], readf_float);
  set_function(functions.readf[static_cast<int>(SampleType::FLOAT64)], readf_double);
  set_function(functions.error, error);
  set_function(functions.strerror, strerror);
  set_function(functions.open_virtual, open_virtual);
  set_function(functions.open_fd, open_fd);
  new (self) LibsndfileFunctions(functions);
}

template <auto Member>
Address address_of(const LibsndfileFunctions& functions) {
  return reinterpret_cast<Address>(functions.*Member);
}

template <SampleType Type>
Address readf_address(const LibsndfileFunctions& functions) {
  return reinterpret_cast<Address>(functions.readf[static_cast<int>(Type)]);
}

void make_format(PySourceFormat* self, int sample_rate, int channels, SampleType sample_type,
                 bool exact_seek, int sndfile_format, std::optional<WavEncoding> wav_encoding,
                 nb::object opener, nb::object ffmpeg) {
  if (channels < 1) throw std::invalid_argument("channels must be at least 1");
  SourceFormat format{sample_rate,    channels,     sample_type, exact_seek,
                      sndfile_format, wav_encoding, nullptr, {}};
  if (!ffmpeg.is_none()) format.ffmpeg = nb::cast<const PyFfmpegFormat&>(ffmpeg).plain;
  if (!opener.is_none()) {
    if (sample_type != SampleType::FLOAT32 || exact_seek)
      throw std::invalid_argument("what a Python opener opens must be of float32, and does not seek");
    // Borrowed: the PySourceFormat owns it, and outlives every reader that uses it.
    format.opener = [function = opener.ptr()](const SourceSpec& spec) {
      return open_python(function, spec);
    };
  }
  new (self) PySourceFormat{std::move(format), std::move(opener), std::move(ffmpeg)};
}

// What libsndfile reads from a header, or why it does not.
struct PyHeader {
  LibsndfileFunctions::Info info{};
  std::string code, message;
};

PyHeader read_header(const LibsndfileFunctions& library, const PyPlace& place) {
  PyHeader header;
  const WithoutGil released;
  try {
    header.info = read_libsndfile_header(place.plain, library);
  } catch (const DecodeError& error) {
    header.code = error.code;
    header.message = error.what();
  }
  return header;
}

template <auto Member>
auto header_field(const PyHeader& header) {
  return header.info.*Member;
}

template <auto Member>
auto format_field(const PySourceFormat& format) {
  return format.plain.*Member;
}

}  // namespace

void bind_sources(nb::module_& m) {
  nb::enum_<SampleType>(m, "SampleType")
      .value("INT16", SampleType::INT16)
      .value("INT32", SampleType::INT32)
      .value("FLOAT32", SampleType::FLOAT32)
      .value("FLOAT64", SampleType::FLOAT64);
  nb::enum_<WavEncoding>(m, "WavEncoding")
      .value("UINT8", WavEncoding::UINT8)
      .value("INT16", WavEncoding::INT16)
      .value("INT24", WavEncoding::INT24)
      .value("INT32", WavEncoding::INT32)
      .value("FLOAT32", WavEncoding::FLOAT32)
      .value("FLOAT64", WavEncoding::FLOAT64);
  nb::class_<LibsndfileFunctions>(m, "LibsndfileFunctions")
      .def("__init__", &make_functions, nb::kw_only(), "open"_a, "close"_a, "seek"_a, "readf_short"_a,
           "readf_int"_a, "readf_float"_a, "readf_double"_a, "error"_a, "strerror"_a, "open_virtual"_a,
           "open_fd"_a)
      .def_prop_ro("open", &address_of<&LibsndfileFunctions::open>)
      .def_prop_ro("close", &address_of<&LibsndfileFunctions::close>)
      .def_prop_ro("seek", &address_of<&LibsndfileFunctions::seek>)
      .def_prop_ro("readf_short", &readf_address<SampleType::INT16>)
      .def_prop_ro("readf_int", &readf_address<SampleType::INT32>)
      .def_prop_ro("readf_float", &readf_address<SampleType::FLOAT32>)
      .def_prop_ro("readf_double", &readf_address<SampleType::FLOAT64>)
      .def_prop_ro("error", &address_of<&LibsndfileFunctions::error>)
      .def_prop_ro("strerror", &address_of<&LibsndfileFunctions::strerror>)
      .def_prop_ro("open_virtual", &address_of<&LibsndfileFunctions::open_virtual>)
      .def_prop_ro("open_fd", &address_of<&LibsndfileFunctions::open_fd>);
  nb::class_<PyHeader>(m, "LibsndfileHeader")
      .def_ro("code", &PyHeader::code)
      .def_prop_ro("message", [](const PyHeader& header) { return to_str(header.message); })
      .def_prop_ro("format", &header_field<&LibsndfileFunctions::Info::format>)
      .def_prop_ro("sample_rate", &header_field<&LibsndfileFunctions::Info::samplerate>)
      .def_prop_ro("channels", &header_field<&LibsndfileFunctions::Info::channels>)
      .def_prop_ro("frames", &header_field<&LibsndfileFunctions::Info::frames>);
  m.def("read_header", &read_header, "library"_a, nb::kw_only(), "place"_a);
  nb::class_<PySourceFormat>(m, "SourceFormat")
      .def("__init__", &make_format, nb::kw_only(), "sample_rate"_a, "channels"_a, "sample_type"_a,
           "exact_seek"_a, "sndfile_format"_a = 0, "wav_encoding"_a = nb::none(),
           "opener"_a = nb::none(), "ffmpeg"_a = nb::none())
      .def_prop_ro("sample_rate", &format_field<&SourceFormat::sample_rate>)
      .def_prop_ro("channels", &format_field<&SourceFormat::channels>)
      .def_prop_ro("sample_type", &format_field<&SourceFormat::sample_type>)
      .def_prop_ro("exact_seek", &format_field<&SourceFormat::exact_seek>)
      .def_prop_ro("sndfile_format", &format_field<&SourceFormat::sndfile_format>)
      .def_prop_ro("wav_encoding", &format_field<&SourceFormat::wav_encoding>)
      .def_ro("opener", &PySourceFormat::opener)
      .def_ro("ffmpeg", &PySourceFormat::ffmpeg);
}

}  // namespace headrace
