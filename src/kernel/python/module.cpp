// The extension module headrace._kernel.
//
// Guarantees: none of this needs the GIL to be safe. What threads share is constant (formats, filters, tables, indexes)
// or guards itself (Reader, the stores). What reads in steps is used by one thread at a time, as a Source is: PlaceBytes,
// FfmpegWalk, OggWalk, OggFeed.
#include <nanobind/nanobind.h>

#include "python/bindings.h"

NB_MODULE(_kernel, m) {
  // When the interpreter exits, an abandoned read may still hold its arguments.
  nanobind::set_leak_warnings(false);
  headrace::bind_places(m);
  headrace::bind_filter(m);
  headrace::bind_ffmpeg(m);
  headrace::bind_sources(m);
  headrace::bind_ogg(m);
  headrace::bind_reader(m);
  headrace::bind_verify(m);
#ifndef _WIN32
  headrace::bind_fetched(m);
#endif
  nanobind::module_ testing = m.def_submodule("testing");
  headrace::bind_testing(testing);
}
