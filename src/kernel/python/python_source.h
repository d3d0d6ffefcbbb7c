// PythonSource: frames that a Python object gives, for the containers that libsndfile does not read.
//
// Guarantees
// - The GIL is held while the object is called, opened and let go of, and not between.
// - A fault that it raises (fault.DecodeFault) is a Fault; any other exception leaves the call as itself.
#pragma once
#include <Python.h>

#include <memory>

#include "sources/source.h"

namespace headrace {

// Open a recording by `opener(path)`, which returns an object with `read(memory)`, `complaint` and
// `close()` (ffmpeg.Stream), of float32. `opener` has to outlive the call.
std::unique_ptr<Source> open_python(PyObject* opener, const Facts& facts);

}  // namespace headrace
