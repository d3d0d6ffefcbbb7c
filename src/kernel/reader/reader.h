// Reader: groups of reads -> rows of audio, in one call that needs no GIL.
//
// Guarantees
// - `read` may be called by many threads at once. What a call uses (an open file, scratch) is its own
//   while the call lasts; one mutex guards the idle files and scratches, and is held for a few pointer
//   moves, never while a file is opened, read or closed.
// - At most `idle` files are open beside those that calls are using; the one unused for longest is
//   closed first.
// - The cancel flag is looked at between reads and between pieces of long ones.
// - A call that was given up keeps its file and scratch until it comes back, and lets go of them then.
// - After a fault an open file is not used again: what one window gives never depends on another.
#pragma once
#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "arithmetic/filter.h"
#include "arithmetic/resample.h"
#include "sources/source.h"

namespace headrace {

// What recordings of the same sample rate, channels and sample format have in common.
struct Kind {
  Facts facts;  // but for path and frames
  const Filter* filter;
  int64_t output_up, output_down;  // a recording of n frames has ceil(n * up / down) samples
  int64_t chunk;                   // outputs made at a time
  int64_t keep;                    // inputs remembered where seeking is not exact
};

struct Recording {
  int64_t id;
  int kind;
  int64_t frames, bytes;
  std::string path;
  std::string seek_points;  // as Facts has them
};

// Windows of one recording, rising, none beginning behind the end of the one before.
struct Read {
  int recording;  // among those of the call
  std::vector<int64_t> starts;
  int64_t row;
};

struct Lost {
  int64_t row;
  std::string code, message;
};

struct Outcome {
  std::vector<Lost> lost;
  double decode_s = 0, resample_s = 0, busy_s = 0;
  bool cancelled = false;
};

// A sign of life from a call, and a word to it: memory that Python reads and writes meanwhile.
struct Beat {
  uint32_t given_up;   // once it is not 0, nobody waits for this call any more
  uint32_t pulse;      // goes up with every piece
  uint32_t recording;  // the id of the one that is being read
};

struct ScratchSize {
  int64_t pcm, planes, inputs, outputs;
};

class Reader {
 public:
  // `channel` is a channel's index, MIX, or ALL.
  static constexpr int ALL = -2;
  Reader(std::vector<Kind> kinds, Sndfile library, ResampleFn resample, int64_t size, int channel,
         ScratchSize scratch, int64_t idle);
  ~Reader();

  // Fill the rows of `reads`: rows[read.row + i] holds planes x size floats. `beat` may be null.
  Outcome read(const std::vector<Recording>& recordings, const std::vector<Read>& reads,
               float* const* rows, const volatile unsigned char* cancel, volatile Beat* beat);

  // Close the idle files, and from now on each that a call is done with.
  void close();

  int64_t most_open() const { return most_open_.load(); }

 private:
  struct OpenFile;
  struct Scratch;
  struct Call;
  struct Inputs;

  std::unique_ptr<OpenFile> lease(const Recording& recording, int64_t start);
  void give_back(std::unique_ptr<OpenFile> file);
  void check_end(int64_t recording, int64_t input);
  void note_end(int64_t recording, int64_t frame, const Fault& fault);
  void windows(OpenFile& file, const std::vector<int64_t>& starts, float* const* rows, Call& call);

  const std::vector<Kind> kinds_;
  const Sndfile library_;
  const ResampleFn resample_;
  const int64_t size_;
  const int channel_;
  const ScratchSize scratch_size_;
  const int64_t idle_limit_;

  std::mutex mutex_;
  std::list<std::unique_ptr<OpenFile>> idle_;  // least recently used first
  std::vector<std::unique_ptr<Scratch>> scratches_;
  // By where decoding from the start had stopped early, and what was said: a decode to there or behind
  // would only take its time to say so again.
  std::map<int64_t, std::pair<int64_t, Fault>> ends_;
  int64_t leased_ = 0;
  bool closed_ = false;
  std::atomic<int64_t> most_open_{0};
};

}  // namespace headrace
