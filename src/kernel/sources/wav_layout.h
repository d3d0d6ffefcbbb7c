// A WAV file's layout, read strictly: either every byte of it that matters is understood, or it is left
// to libsndfile.
#pragma once
#include <cstdint>

namespace headrace {

// Random access to the bytes of a file, or of a piece of memory.
class Bytes {
 public:
  virtual ~Bytes() = default;
  virtual int64_t size() const = 0;
  // Read up to `count` bytes at `offset`; return how many there were, -1 on an error (errno says).
  virtual int64_t read(int64_t offset, void* to, int64_t count) const = 0;
};

enum class Encoding : int { UINT8, INT16, INT24, INT32, FLOAT32, FLOAT64 };

struct WavLayout {
  Encoding encoding;
  int channels;
  int sample_rate;
  int64_t data_offset;
  int64_t frames;
};

// Return whether `bytes` are a RIFF or RF64 WAVE of plain PCM or float samples, whole and without
// contradictions, and if so where its samples are. Never reads outside of `bytes`.
bool parse_wav(const Bytes& bytes, WavLayout* layout);

// Bytes of one sample in the file.
int encoded_bytes(Encoding encoding);

}  // namespace headrace
