// Source: one open recording that gives PCM frames in order, in one of four sample types.
//
// Guarantees: a Source is used by one thread at a time. Two Sources of the same file share nothing.
//
// Units: positions and counts are PCM frames: one sample for each channel. Channels are interleaved.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sources/ffmpeg_library.h"
#include "sources/place.h"
#include "sources/wav_layout.h"

namespace headrace {

enum class SampleType : int { INT16, INT32, FLOAT32, FLOAT64 };
int bytes_per_sample(SampleType type);

class Source;
struct SourceSpec;

// Opens a recording. Throws DecodeError if it cannot be opened, or is not what its spec says.
using Opener = std::function<std::unique_ptr<Source>(const SourceSpec& spec)>;

// What recordings of one format have in common.
struct SourceFormat {
  int64_t bytes_per_frame() const { return int64_t{bytes_per_sample(sample_type)} * channels; }

  int sample_rate = 0;  // Hz
  int channels = 0;
  SampleType sample_type = SampleType::FLOAT32;  // in which they are decoded
  bool exact_seek = false;   // whether libsndfile seeks to exactly the frame that it is asked for
  int sndfile_format = 0;    // libsndfile's SF_FORMAT_*: container and sample format, without byte order
  std::optional<WavEncoding> wav_encoding;  // if they may be WAV files of plain samples
  Opener opener;             // if neither libsndfile nor the kernel decodes them
  FfmpegFormat ffmpeg;       // if they have an index of packets, and the kernel calls FFmpeg for them
};

// What to open, and what the catalog says of it. Opening checks the bytes against this.
struct SourceSpec {
  SourceFormat format;
  Place place;
  int64_t frames = 0;
  int64_t file_bytes = 0;   // size of the place at the scan; 0 if unknown
  // Of MP3 a packed Mp3Index, of FLAC what pack_flac_end gave, of FFmpeg's a packed PacketIndex
  // or OggIndex; or empty.
  std::string seek_points;
};

// Whether the recording has a PacketIndex or an OggIndex: then that says what its decode is.
bool has_packet_index(const SourceSpec& spec);

// A FLAC frame: its PCM frames [first, stop), in bytes [offset, end) of the file.
struct Landmark {
  int64_t first, stop, offset, end;
};

class Source {
 public:
  virtual ~Source() = default;
  // Fill `to` with up to `frames` frames. Fewer only where decoding ends. Throws DecodeError.
  virtual int64_t read(void* to, int64_t frames) = 0;
  // Whether it can seek to any frame.
  virtual bool seekable() const { return true; }
  // Make `frame` the next frame that `read` gives. Only if it is seekable. Throws DecodeError.
  virtual void seek(int64_t frame) = 0;
  // After `read` gave fewer frames than it was asked for: seek to the first frame from `frame` on that can be
  // read, and return it. -1 if there is none, or it is not known.
  virtual int64_t resume(int64_t frame) {
    (void)frame;
    return -1;
  }
  // Use landmarks that another Source of the recording has found, to find frames with fewer reads; and add those that
  // this one has found.
  virtual void learn(const std::vector<Landmark>& known) { (void)known; }
  virtual void tell(std::vector<Landmark>* found) const { (void)found; }
  // What the decoder says about why it ended: " (reason)", or "".
  virtual std::string complaint() = 0;
  // Whether it ended because the system could not read the file.
  virtual bool system_failed() = 0;
};

}  // namespace headrace
