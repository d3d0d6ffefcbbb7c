// Source: one open file that gives PCM frames, sequentially, in one of four sample types.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include "sources/wav_layout.h"

namespace headrace {

enum class SampleType : int { INT16, INT32, FLOAT32, FLOAT64 };
int sample_bytes(SampleType type);

// Frames that could not be had, on the way to becoming a Failure; `code` is one of records.Code.
struct Fault : std::runtime_error {
  Fault(const std::string& c, const std::string& message) : std::runtime_error(message), code(c) {}
  std::string code;
};

// libsndfile's functions, as addresses from the library that the soundfile package ships, and the part
// of its stable binary interface that is used (sndfile.h).
struct Sndfile {
  struct Info {
    int64_t frames;
    int samplerate, channels, format, sections, seekable;
  };
  void* (*open)(const void* path, int mode, Info* info);
  int (*close)(void*);
  int64_t (*seek)(void*, int64_t frames, int whence);
  int64_t (*readf[4])(void*, void* to, int64_t frames);  // by SampleType
  int (*error)(void*);
  const char* (*strerror)(void*);
  // A file that is read through functions of ours; `user` is passed to each (SF_VIRTUAL_IO).
  struct Virtual {
    int64_t (*size)(void* user);
    int64_t (*seek)(int64_t offset, int whence, void* user);
    int64_t (*read)(void* to, int64_t count, void* user);
    int64_t (*write)(const void* from, int64_t count, void* user);
    int64_t (*tell)(void* user);
  };
  void* (*open_virtual)(Virtual*, int mode, Info* info, void* user);
};

class Source;

// What the catalog says of a recording, which its file has to be still.
struct Facts {
  std::string path;  // as the system's open() takes it; on Windows UTF-16
  int64_t frames;
  int sample_rate;
  int channels;
  int format;         // libsndfile's container and sample format
  SampleType type;    // in which it is decoded
  bool seekable;      // whether libsndfile's seeking is exact
  int wav_encoding;   // an Encoding if it may be a plain WAV, else -1
  int64_t bytes = 0;  // of the file, if known
  std::string seek_points;  // a packed Mp3Index, if the catalog has one
  std::function<std::unique_ptr<Source>(const Facts&)> opener = nullptr;  // of what is not libsndfile's
};

class Source {
 public:
  virtual ~Source() = default;
  // Fill `to` with up to `frames` frames; fewer only where decoding ends. Throws Fault.
  virtual int64_t read(void* to, int64_t frames) = 0;
  // Whether it can go to any frame.
  virtual bool seeks() const { return true; }
  // Go to `frame`; only where it can. Throws Fault.
  virtual void seek(int64_t frame) = 0;
  // What the decoder has to say about having ended: " (why)", or nothing.
  virtual std::string complaint() = 0;
  // Whether it ended because the system could not read.
  virtual bool system_failed() = 0;
};

// Open a recording: by its opener, if it has one; by our own reader if it is the plain WAV or the FLAC that the catalog says, by its
// seek points if it is an MP3 that has some, else by libsndfile. Throws Fault if it cannot be opened or is
// not what was scanned.
std::unique_ptr<Source> open_source(const Facts& facts, const Sndfile& library);

// Decode a recording from its start, by libsndfile.
std::unique_ptr<Source> open_sndfile(const Facts& facts, const Sndfile& library);

// Decode what `file` gives, by libsndfile; `file` has to outlive it.
std::unique_ptr<Source> open_virtual(const Facts& facts, const Sndfile& library,
                                     Sndfile::Virtual* functions, void* file);

// The bytes of a file. Throws Fault if it cannot be opened, or has fewer than `least`. Not on Windows.
std::unique_ptr<Bytes> open_bytes(const std::string& path, int64_t least = 0);

}  // namespace headrace
