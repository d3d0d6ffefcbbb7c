// WavLayout: where the samples of a WAV file are.
//
// Guarantees: parsing is strict but for the number of samples. A file is accepted only if every other field that
// matters is understood and none contradicts another; any other file is left to libsndfile. The size of the
// samples is a claim, which a recorder that was stopped, or one past 4 GiB, gets wrong: what the file holds
// decides. Nothing outside of the file is read.
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
  bool extensible;      // whether the format is WAVE_FORMAT_EXTENSIBLE
  bool rf64;            // whether sizes have 64 bits: RF64 or BW64
  bool agrees;          // whether the header declares the samples that are there
};

// Return whether `bytes` are a RIFF, RF64 or BW64 WAVE file of plain PCM or float samples. If so, set `layout`;
// else it is undefined.
bool parse_wav(const Bytes& bytes, WavLayout* layout);

// Bytes of one sample in the file.
int bytes_per_encoded_sample(WavEncoding encoding);

}  // namespace headrace
