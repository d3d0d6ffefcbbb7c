// Reader: reads groups of windows from recordings into rows of audio. One call for a group, without the GIL.
//
// Guarantees
// - `read` may be called by many threads at once. While a call lasts, the open files and the scratch memory
//   that it uses are its own. One mutex guards the idle files and the idle scratch; it is held while pointers
//   are moved, never while a file is opened, read or closed.
// - At most `idle_limit` files are open beside those that calls are using. The one that has been idle for
//   longest is closed first.
// - The cancellation flag is checked between requests and between pieces of long ones.
// - A call that its caller has abandoned keeps its file and its scratch until it returns, and then frees
//   them.
// - After a decode error an open file is not used again: what one window gives never depends on another.
//
// Units: inputs are PCM frames of a recording; outputs are samples at the rate of the windows. Both are
// counted from the start of the recording.
#pragma once
#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "arithmetic/convert.h"
#include "arithmetic/filter.h"
#include "arithmetic/resample.h"
#include "reader/cancel_flag.h"
#include "sources/decode_error.h"
#include "sources/landmarks.h"
#include "sources/libsndfile.h"
#include "sources/source.h"
#ifndef _WIN32
#include "reader/file_identities.h"
#endif

namespace headrace {

// How recordings of one format are read and resampled.
struct RecordingFormat {
  SourceFormat source;
  const Filter* filter;            // has to outlive the Reader
  int64_t output_up, output_down;  // a recording of n frames has ceil(n * up / down) outputs
  int64_t chunk;                   // outputs computed at a time
  int64_t history;  // inputs kept if seeking is not exact, so that a window may overlap the last one
};

struct RecordingFile {
  int64_t id = 0;
  int format = 0;  // index into the Reader's formats
  int64_t frames = 0;
  int64_t file_bytes = 0;  // size of the place at the scan
  Place place;
  std::string seek_points;
  std::shared_ptr<Landmarks> landmarks;  // null: where its frames are need not be kept
  std::string name;                      // of the recording, among those that share `landmarks`
};

// Windows of one recording. `starts` (outputs) do not decrease, and no window begins after the end of the one
// before it.
struct ReadRequest {
  const RecordingFile* recording;
  std::vector<int64_t> starts;
  int64_t row;  // of the first window; the others follow
};

// Where each read begins, among windows given by recording and start: windows of one recording that follow or
// overlap each other, in order, are one read.
std::vector<int64_t> split_reads(const int64_t* recordings, const int64_t* starts, int64_t count, int64_t size);

// A window that could not be read. Its row holds zeros.
struct LostWindow {
  int64_t row;
  std::string code, message;  // as in DecodeError
};

struct ReadResult {
  std::vector<LostWindow> lost;
  double decode_s = 0, resample_s = 0, busy_s = 0;  // seconds; busy_s is the whole call
  double store_s = 0;                               // of decode_s: waiting for a FetchedStore
  bool cancelled = false;                           // then the rows are undefined
};

// Memory that a call and its watcher in Python share while the call runs.
struct Heartbeat {
  std::atomic<uint32_t> abandoned;  // written by the watcher: not 0 once nobody waits for this call any more
  std::atomic<uint32_t> pulse;      // written by the call: changes with every piece
  std::atomic<uint32_t> recording;  // written by the call: the id of the recording that it is reading
};
static_assert(sizeof(Heartbeat) == 3 * sizeof(uint32_t) && std::atomic<uint32_t>::is_always_lock_free,
              "Python writes these words into an array");

// Sizes of one call's scratch memory.
struct ScratchSize {
  int64_t pcm_bytes;  // for decoded PCM
  int64_t planes;     // channels of a row
  int64_t inputs;     // floats for each plane before resampling
  int64_t outputs;    // floats for each plane after resampling
};

class Reader {
 public:
  static constexpr int ALL = -2;  // in place of a channel's index: every channel, in a plane of its own

  // `size` is the length of a window in outputs; `channel` is a channel's index, MIX (convert.h) or ALL.
  Reader(std::vector<RecordingFormat> formats, LibsndfileFunctions library, ResampleFn resample,
         int64_t size, int channel, ScratchSize scratch, int64_t idle_limit);
  ~Reader();

  // Fill the rows of `requests`: rows[request.row + i] holds planes x size floats. `heartbeat` may be null.
  ReadResult read(const std::vector<ReadRequest>& requests, float* const* rows,
                  const CancelFlag* cancel, Heartbeat* heartbeat);

  // Close the idle files; from now on close every file when its call is done with it.
  void close();

  // The most files that were open at once.
  int64_t most_open() const { return most_open_.load(); }

 private:
  struct OpenFile;
  struct Scratch;
  struct Call;
  struct Inputs;

  // Take an idle file of this recording, or open one, for a window that starts at output `start`.
  std::unique_ptr<OpenFile> take_file(const RecordingFile& recording, int64_t start);
  // Give a file back to the idle ones; null if it was closed instead.
  void return_file(std::unique_ptr<OpenFile> file);
  // Throw KnownEnd if decoding this recording is known to end before input `input`.
  void check_known_end(int64_t recording, int64_t input);
  // Note that decoding this recording to `frame` ends with this error.
  void note_end(int64_t recording, int64_t frame, const DecodeError& error);
  // Read windows of the open file's recording into rows. Throws DecodeError if any of them cannot be read.
  void read_windows(OpenFile& file, const std::vector<int64_t>& starts, float* const* rows, Call& call);

  const std::vector<RecordingFormat> formats_;
  const LibsndfileFunctions library_;
  const ResampleFn resample_;
  const int64_t size_;
  const int channel_;
  const ScratchSize scratch_size_;
  const int64_t idle_limit_;

  std::mutex mutex_;
  std::list<std::unique_ptr<OpenFile>> idle_;  // least recently used first
  std::vector<std::unique_ptr<Scratch>> scratches_;
  // By recording that cannot seek: the frame before which decoding from the start is known to end, and the
  // error. Decoding to there or further again would take its time only to give the same error.
  std::map<int64_t, std::pair<int64_t, DecodeError>> ends_;
#ifndef _WIN32
  FileIdentities identities_;  // of files of the system
#endif
  int64_t files_in_use_ = 0;
  bool closed_ = false;
  std::atomic<int64_t> most_open_{0};
};

}  // namespace headrace
