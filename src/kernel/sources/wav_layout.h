// WavLayout: where the samples of a WAV file are.
//
// Guarantees: parsing is strict. A file is accepted only if every field that matters is understood and none
// contradicts another; any other file is left to libsndfile. Nothing outside of the file is read.
#pragma once
#include <cstdint>

#include "sources/bytes.h"

namespace headrace {

enum class WavEncoding : int { UINT8, INT16, INT24, INT32, FLOAT32, FLOAT64 };  // little-endian

struct WavLayout {
  WavEncoding encoding;
  int channels;
  int sample_rate;      // Hz
  int64_t data_offset;  // bytes
  int64_t frames;
};

// Return whether `bytes` are a complete RIFF or RF64 WAVE file of plain PCM or float samples. If so, set
// `layout`; else it is undefined.
bool parse_wav(const Bytes& bytes, WavLayout* layout);

// Bytes of one sample in the file.
int bytes_per_encoded_sample(WavEncoding encoding);

}  // namespace headrace
