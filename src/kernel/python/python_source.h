// PythonSource: PCM frames from a Python object, for the formats that libsndfile does not decode.
//
// Guarantees
// - The GIL is taken only to open, call and release the object.
// - A decode error that it raises (fault.DecodeFault) becomes a DecodeError. Any other exception is passed
//   on as it is.
#pragma once
#include <Python.h>

#include <memory>

#include "sources/source.h"

namespace headrace {

// Open a recording with `opener(path)`, or `opener(path, seek_points)` if there are some. It returns an object that gives float32 PCM (ffmpeg.Stream):
// `read(memory)` fills a writable memory and returns how many frames it wrote, fewer only where decoding
// ends; `complaint` says why it ended; `close()` closes it. `opener` has to outlive the call.
std::unique_ptr<Source> open_python(PyObject* opener, const SourceSpec& spec);

}  // namespace headrace
