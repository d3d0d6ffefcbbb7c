// What the kernel's own readers say of a file: its format, and the frames that it holds.
//
// Guarantees: the number of frames is what the file holds, and not what its header claims, as far as that can be
// known without decoding the file. With `believe_flac`, the number that the header of a FLAC file declares is
// taken, if the file can hold as many: nothing is read but the header.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "sources/bytes.h"

namespace headrace {

struct AudioHeader {
  const char* format;   // libsndfile's names: "WAV", "WAVEX", "RF64", "FLAC"
  const char* subtype;  // "PCM_16", ...
  int sample_rate;      // Hz
  int channels;
  int64_t frames;
  bool agrees;              // whether the header claims nothing else
  std::string seek_points;  // what SourceSpec has to have to read them
};

// Return whether a file is one that the kernel reads itself. If so, set `header`; else it is undefined.
bool probe_header(std::unique_ptr<Bytes> bytes, AudioHeader* header, bool believe_flac = false);

}  // namespace headrace
