// What the units that make the Python module share. Each binds one part of the kernel: it checks sizes and
// types, releases the GIL, and calls.
#pragma once
#include <nanobind/nanobind.h>

#include <memory>
#include <string>

#include "sources/place.h"
#include "sources/source.h"

namespace headrace {

// An FfmpegFormat that owns the functions.
struct PyFfmpegFormat {
  FfmpegFormat plain;
  nanobind::object functions;
};

// A SourceFormat that owns the Python objects that it refers to.
struct PySourceFormat {
  SourceFormat plain;
  nanobind::object opener, ffmpeg;
};

// A ByteStore that Python holds, too.
struct PyByteStore {
  std::shared_ptr<ByteStore> plain;
};

// A Place, and the store as Python knows it.
struct PyPlace {
  Place plain;
  nanobind::object store;
};

void bind_ffmpeg(nanobind::module_& m);
void bind_fetched(nanobind::module_& m);  // not on Windows
void bind_filter(nanobind::module_& m);
void bind_ogg(nanobind::module_& m);
void bind_reader(nanobind::module_& m);
void bind_places(nanobind::module_& m);
void bind_sources(nanobind::module_& m);
void bind_verify(nanobind::module_& m);
void bind_testing(nanobind::module_& m);

}  // namespace headrace
