#include "reader/reader.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "arithmetic/float_mode.h"
#include "sources/open_source.h"
#ifndef _WIN32
#include "sources/fetched_store.h"
#endif

namespace headrace {
namespace {

double now_s() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

struct Cancelled {};

// An error that is known from an earlier decode. The open file has not been touched, and can be used again.
struct KnownEnd : DecodeError {
  explicit KnownEnd(const DecodeError& error) : DecodeError(error) {}
};

// How many recordings' early ends are kept: some dozens of bytes each.
constexpr size_t MOST_ENDS = 1 << 12;

// Samples converted at a time before they are copied past the caches. They stay in the level 1 cache.
constexpr int64_t BLOCK = 1 << 10;

// Windows of at least this many samples that do not overlap are resampled straight into their rows. Shorter
// ones are computed many at a time and copied.
constexpr int64_t DIRECT = 1 << 12;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }  // a >= 0

void learn_landmarks(const RecordingFile& recording, int64_t input, Source& source) {
  if (recording.landmarks) source.learn(recording.landmarks->around(recording.name, input));
}

void note_landmarks(const RecordingFile& recording, const Source& source) {
  if (!recording.landmarks) return;
  std::vector<Landmark> found;
  source.tell(&found);
  if (!found.empty()) recording.landmarks->note(recording.name, found);
}

}  // namespace

// The memory of one call. Its size does not depend on how much the call reads.
struct Reader::Scratch {
  explicit Scratch(const ScratchSize& size, int64_t filter)
      : pcm(static_cast<size_t>(size.pcm_bytes)),
        x(static_cast<size_t>(size.planes * size.inputs)),
        y(static_cast<size_t>(size.planes * size.outputs)),
        between(static_cast<size_t>(filter)) {}
  std::vector<unsigned char> pcm;
  std::vector<float> x, y, between;
};

// What one call of `read` works with.
struct Reader::Call {
  Scratch& scratch;
  const CancelFlag* cancel;
  Heartbeat* heartbeat;
  ReadResult& result;
  bool abandoned() const {
    return heartbeat && heartbeat->abandoned.load(std::memory_order_relaxed);
  }
  // Show that the call is alive, and return whether it has to end.
  bool cancelled() const {
    if (heartbeat)  // only this thread writes it
      heartbeat->pulse.store(heartbeat->pulse.load(std::memory_order_relaxed) + 1,
                             std::memory_order_relaxed);
    return cancel->load(std::memory_order_relaxed) || abandoned();
  }
};

// An open source, and the last inputs that it gave, as float32 planes.
struct Reader::OpenFile {
  OpenFile(const Reader& reader, const RecordingFile& recording, const RecordingFormat& its_format)
      : id(recording.id), format(its_format), library(reader.library_) {
    spec.format = format.source;
    spec.place = recording.place;
    spec.frames = recording.frames;
    spec.file_bytes = recording.file_bytes;
    spec.seek_points = recording.seek_points;
    if (reader.channel_ == ALL)
      for (int c = 0; c < spec.format.channels; ++c) channels.push_back(c);
    else
      channels.push_back(reader.channel_);
    history = spec.format.exact_seek ? 0 : format.history;
    kept.resize(static_cast<size_t>(history) * channels.size());
    source = open_source(spec, library);
  }

  // The first of the inputs that are kept.
  int64_t begin() const { return position - kept_count; }

  // Write `count` inputs from `start` on into planes that are `stride` floats apart. With `past_caches`,
  // they are final output, which is larger than the caches and is not read again here.
  void read(int64_t start, float* to, int64_t stride, int64_t count, const Call& call,
            bool past_caches = false) {
    int64_t done = 0;
    if (begin() <= start && start < position) {
      done = std::min(count, position - start);
      const int64_t skip = history - (position - start);
      for (size_t p = 0; p < channels.size(); ++p)
        std::memcpy(to + static_cast<int64_t>(p) * stride,
                    kept.data() + static_cast<int64_t>(p) * history + skip,
                    static_cast<size_t>(done) * sizeof(float));
      if (done == count) return;
    }
    const int64_t frame_bytes = spec.format.bytes_per_frame();
    const int64_t room = static_cast<int64_t>(call.scratch.pcm.size()) / frame_bytes;
    unsigned char* pcm = call.scratch.pcm.data();
    move_to(start + done, pcm, room, call);
    const int64_t fresh = done;
    while (done < count) {
      if (call.cancelled()) throw Cancelled();
      const int64_t frames = std::min(room, count - done);
      read_exactly(pcm, frames);
      for (size_t p = 0; p < channels.size(); ++p) {
        float* plane = to + static_cast<int64_t>(p) * stride + done;
        if (!past_caches) {
          convert_to(plane, pcm, frames, channels[p], start + done);
          continue;
        }
        if (spec.format.sample_type == SampleType::INT16 && spec.format.channels == 1) {
          convert_past_caches(reinterpret_cast<const int16_t*>(pcm), frames, plane);
          continue;
        }
        for (int64_t at = 0; at < frames; at += BLOCK) {
          const int64_t some = std::min(BLOCK, frames - at);
          float* block = call.scratch.y.data();
          convert_to(block, pcm + at * frame_bytes, some, channels[p], start + done + at);
          copy_past_caches(block, some, plane + at);
        }
      }
      done += frames;
    }
    remember(to + fresh, stride, count - fresh);
  }

  // Make `frame` the next frame that the source gives.
  void move_to(int64_t frame, unsigned char* pcm, int64_t room, const Call& call) {
    if (position == frame) return;
    if (source->seekable()) {
      source->seek(frame);
      position = frame;
      kept_count = 0;
      return;
    }
    if (frame < position) {
      source.reset();
      source = open_source(spec, library);
      position = kept_count = 0;
    }
    while (position < frame) {
      if (call.cancelled()) throw Cancelled();
      read_exactly(pcm, std::min(room, frame - position));
      kept_count = 0;
    }
  }

  // Read `frames` frames of PCM. Throws DecodeError if there are fewer.
  void read_exactly(unsigned char* pcm, int64_t frames) {
    wanted = position + frames;
    const int64_t got = source->read(pcm, frames);
    position += got;
    if (got == frames) return;
    const bool system = source->system_failed();
    ended = !system;
    // The message does not say where it stopped, because a decoder may drop a whole piece for an error in it.
    const std::string what = system ? "the file cannot be read" : "the file is cut short or damaged";
    throw DecodeError(system ? "IO" : "TRUNCATED",
                      what + ": fewer than its " + std::to_string(spec.frames) +
                          " frames can be decoded" + source->complaint());
  }

  // `frame` is the number of the first frame, for the message.
  void convert_to(float* to, const unsigned char* pcm, int64_t frames, int channel,
                  int64_t frame) const {
    if (convert_any(pcm, frames, channel, to)) return;
    int64_t bad = 0;
    while (std::isfinite(to[bad])) ++bad;
    throw DecodeError("NON_FINITE", "the audio holds NaN or infinity at frame " +
                                        std::to_string(frame + bad) + ": repair or leave out the file");
  }

  bool convert_any(const unsigned char* pcm, int64_t frames, int channel, float* to) const {
    switch (spec.format.sample_type) {
      case SampleType::INT16:
        return convert(reinterpret_cast<const int16_t*>(pcm), frames, spec.format.channels, channel, to);
      case SampleType::INT32:
        return convert(reinterpret_cast<const int32_t*>(pcm), frames, spec.format.channels, channel, to);
      case SampleType::FLOAT32:
        return convert(reinterpret_cast<const float*>(pcm), frames, spec.format.channels, channel, to);
      default:
        return convert(reinterpret_cast<const double*>(pcm), frames, spec.format.channels, channel, to);
    }
  }

  // Keep the last `history` inputs, of those kept before and of `count` new ones, at the end of the buffer.
  void remember(const float* from, int64_t stride, int64_t count) {
    const int64_t add = std::min(count, history), left = history - add;
    for (size_t p = 0; p < channels.size() && history; ++p) {
      float* plane = kept.data() + static_cast<int64_t>(p) * history;
      std::memmove(plane, plane + add, static_cast<size_t>(left) * sizeof(float));
      std::memcpy(plane + left, from + static_cast<int64_t>(p) * stride + count - add,
                  static_cast<size_t>(add) * sizeof(float));
    }
    kept_count = std::min(history, kept_count + count);
  }

  int64_t id;
  const RecordingFormat& format;
  SourceSpec spec;
  const LibsndfileFunctions& library;
  std::unique_ptr<Source> source;
  int64_t position = 0;  // the frame that the source gives next
  int64_t wanted = 0;    // the end of the last piece that was asked for
  bool ended = false;    // whether decoding ended before `wanted`
  std::vector<int> channels;
  std::vector<float> kept;
  int64_t history = 0, kept_count = 0;
};

// The inputs of increasing outputs: a range that slides through the scratch memory.
struct Reader::Inputs {
  OpenFile& file;
  const Filter& filter;
  int64_t stride;
  int64_t low, high;      // the inputs that the whole request depends on, clipped to the recording
  int64_t begin, filled;  // the scratch holds inputs [begin, filled)

  Inputs(OpenFile& f, int64_t stride_, int64_t start, int64_t stop)
      : file(f), filter(*f.format.filter), stride(stride_) {
    const Span all = filter.support(start, stop);
    low = std::max<int64_t>(0, all.begin);
    high = std::min(file.spec.frames, all.end);
    begin = filled = filter.span(start, start + 1).begin;
  }

  // Fill the scratch with the inputs that outputs [start, stop) need, from input `begin` on. There are zeros
  // outside of the recording, and outside of what the request depends on.
  void load(int64_t start, int64_t stop, const Call& call) {
    const Span need = filter.span(start, stop);
    if (need.end - need.begin > stride)
      throw std::logic_error("the scratch memory is too small for these windows");
    float* x = call.scratch.x.data();
    const int64_t left = filled - need.begin;
    for (size_t p = 0; p < file.channels.size() && left > 0; ++p) {
      float* plane = x + static_cast<int64_t>(p) * stride;
      std::memmove(plane, plane + (need.begin - begin), static_cast<size_t>(left) * sizeof(float));
    }
    begin = need.begin;
    filled = std::max(filled, begin);
    const int64_t from = std::max(low, filled), to = std::min(high, need.end);
    if (from >= to) {
      clear(x, filled, need.end);
    } else {
      clear(x, filled, from);
      file.read(from, x + (from - begin), stride, to - from, call);
      clear(x, to, need.end);
    }
    filled = std::max(filled, need.end);
  }

  void clear(float* x, int64_t from, int64_t to) const {
    for (size_t p = 0; p < file.channels.size() && from < to; ++p)
      std::memset(x + static_cast<int64_t>(p) * stride + (from - begin), 0,
                  static_cast<size_t>(to - from) * sizeof(float));
  }
};

std::vector<int64_t> split_reads(const int64_t* recordings, const int64_t* starts, int64_t count, int64_t size) {
  std::vector<int64_t> bounds;
  for (int64_t i = 0; i < count; ++i)
    if (i == 0 || recordings[i] != recordings[i - 1] || starts[i] <= starts[i - 1] ||
        starts[i] > starts[i - 1] + size)
      bounds.push_back(i);
  return bounds;
}

Reader::Reader(std::vector<RecordingFormat> formats, LibsndfileFunctions library, ResampleFn resample,
               int64_t size, int channel, ScratchSize scratch, int64_t idle_limit)
    : formats_(std::move(formats)),
      library_(library),
      resample_(resample),
      size_(size),
      channel_(channel),
      scratch_size_(scratch),
      idle_limit_(idle_limit) {}

Reader::~Reader() = default;

void Reader::close() {
  std::list<std::unique_ptr<OpenFile>> closing;
  const std::lock_guard<std::mutex> guard(mutex_);
  closed_ = true;
  closing.swap(idle_);
}

std::unique_ptr<Reader::OpenFile> Reader::take_file(const RecordingFile& recording, int64_t start) {
#ifndef _WIN32
  if (!recording.place.store) identities_.check(recording.place.path);
#endif
  const RecordingFormat& format = formats_[static_cast<size_t>(recording.format)];
  const int64_t input = std::max<int64_t>(0, format.filter->support(start, start + 1).begin);
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    // Prefer the file that is nearest before the first input. Any other has to go back.
    auto best = idle_.end();
    for (auto it = idle_.begin(); it != idle_.end(); ++it) {
      if ((*it)->id != recording.id) continue;
      const auto rank = [&](const OpenFile& f) {
        return std::pair<bool, int64_t>(f.begin() <= input, f.begin());
      };
      if (best == idle_.end() || rank(**it) > rank(**best)) best = it;
    }
    ++files_in_use_;
    const int64_t open = files_in_use_ + static_cast<int64_t>(idle_.size()) - (best != idle_.end());
    if (open > most_open_.load()) most_open_.store(open);
    if (best != idle_.end()) {
      std::unique_ptr<OpenFile> file = std::move(*best);
      idle_.erase(best);
      learn_landmarks(recording, input, *file->source);
      return file;
    }
  }
  try {
    auto file = std::make_unique<OpenFile>(*this, recording, format);
    learn_landmarks(recording, input, *file->source);
    return file;
  } catch (...) {
    const std::lock_guard<std::mutex> guard(mutex_);
    --files_in_use_;
    throw;
  }
}

void Reader::return_file(std::unique_ptr<OpenFile> file) {
  std::unique_ptr<OpenFile> closing;  // closed after the mutex is released
  const std::lock_guard<std::mutex> guard(mutex_);
  --files_in_use_;
  if (!file || closed_) {
    closing = std::move(file);
    return;
  }
  idle_.push_back(std::move(file));
  if (static_cast<int64_t>(idle_.size()) > idle_limit_) {
    closing = std::move(idle_.front());
    idle_.pop_front();
  }
}

void Reader::check_known_end(int64_t recording, int64_t input) {
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto end = ends_.find(recording);
  if (end != ends_.end() && input >= end->second.first) throw KnownEnd(end->second.second);
}

void Reader::note_end(int64_t recording, int64_t frame, const DecodeError& error) {
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto known = ends_.find(recording);
  if (known != ends_.end())
    known->second.first = std::min(known->second.first, frame);
  else if (ends_.size() < MOST_ENDS)
    ends_.emplace(recording, std::make_pair(frame, error));
}

void Reader::read_windows(OpenFile& file, const std::vector<int64_t>& starts, float* const* rows,
                          Call& call) {
  const int64_t total = ceil_div(file.spec.frames * file.format.output_up, file.format.output_down);
  const int64_t planes = scratch_size_.planes, stride = scratch_size_.inputs;
  const size_t count = starts.size();
  bool direct = size_ >= DIRECT;
  for (size_t i = 1; i < count; ++i) direct = direct && starts[i - 1] + size_ <= starts[i];

  const auto end_of = [&](size_t i) {
    return std::max(starts[i], std::min(starts[i] + size_, total));
  };
  if (direct && file.format.filter->identity()) {  // decode straight into the rows
    for (size_t i = 0; i < count; ++i) {
      const double t0 = now_s();
      const int64_t length = end_of(i) - starts[i];
      if (!file.source->seekable()) check_known_end(file.id, starts[i] + length);
      if (length > 0) file.read(starts[i], rows[i], size_, length, call, true);
      for (int64_t p = 0; p < planes; ++p)
        std::memset(rows[i] + p * size_ + length, 0,
                    static_cast<size_t>(size_ - length) * sizeof(float));
      call.result.decode_s += now_s() - t0;
    }
    return;
  }
  Inputs inputs(file, stride, starts[0], std::max(starts[0] + 1, end_of(count - 1)));
  if (!file.source->seekable()) check_known_end(file.id, inputs.high);
  Scratch& scratch = call.scratch;
  const auto compute = [&](int64_t begin, int64_t stop, float* to, int64_t to_stride) {
    const double t0 = now_s();
    inputs.load(begin, stop, call);
    const double t1 = now_s();
    for (int64_t p = 0; p < planes; ++p)
      file.format.filter->apply(resample_, scratch.x.data() + p * stride, inputs.begin,
                                to + p * to_stride, begin, stop, scratch.between.data());
    call.result.decode_s += t1 - t0;
    call.result.resample_s += now_s() - t1;
  };
  if (direct) {
    for (size_t i = 0; i < count; ++i)
      for (int64_t c = starts[i]; c < end_of(i); c += file.format.chunk)
        compute(c, std::min(c + file.format.chunk, end_of(i)), rows[i] + (c - starts[i]), size_);
  } else {
    float* y = scratch.y.data();
    const int64_t y_stride = scratch_size_.outputs;
    size_t first = 0;
    for (int64_t c = starts[0]; c < end_of(count - 1); c += file.format.chunk) {
      const int64_t stop = std::min(c + file.format.chunk, end_of(count - 1));
      compute(c, stop, y, y_stride);
      while (first + 1 < count && end_of(first) <= c) ++first;
      for (size_t i = first; i < count && starts[i] < stop; ++i) {
        const int64_t low = std::max(c, starts[i]), high = std::min(stop, end_of(i));
        for (int64_t p = 0; p < planes && low < high; ++p)
          std::memcpy(rows[i] + p * size_ + (low - starts[i]), y + p * y_stride + (low - c),
                      static_cast<size_t>(high - low) * sizeof(float));
      }
    }
  }
  for (size_t i = 0; i < count; ++i)
    for (int64_t p = 0; p < planes; ++p)
      std::memset(rows[i] + p * size_ + (end_of(i) - starts[i]), 0,
                  static_cast<size_t>(size_ - (end_of(i) - starts[i])) * sizeof(float));
}

ReadResult Reader::read(const std::vector<ReadRequest>& requests, float* const* rows,
                        const CancelFlag* cancel, Heartbeat* heartbeat) {
  const double began = now_s();
#ifndef _WIN32
  const double waited_before = store_wait_s();
#endif
  const DefaultFloatMode mode;
  ReadResult result;
  std::unique_ptr<Scratch> scratch;
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (!scratches_.empty()) {
      scratch = std::move(scratches_.back());
      scratches_.pop_back();
    }
  }
  if (!scratch) {
    int64_t between = 0;
    for (const RecordingFormat& format : formats_)
      between = std::max(between, format.filter->scratch(format.chunk));
    scratch = std::make_unique<Scratch>(scratch_size_, between);
  }
  Call call{*scratch, cancel, heartbeat, result};

  // Read windows of one recording with a file that no other call uses, and return the file if it is still
  // good.
  const auto attempt = [&](const RecordingFile& recording, const std::vector<int64_t>& starts,
                           float* const* to) {
    std::unique_ptr<OpenFile> file = take_file(recording, starts[0]);
    try {
      read_windows(*file, starts, to, call);
      note_landmarks(recording, *file->source);
    } catch (const KnownEnd&) {
      return_file(std::move(file));
      throw;
    } catch (const DecodeError& error) {
      if (file->source && !file->source->seekable() && file->ended) note_end(file->id, file->wanted, error);
      file.reset();
      return_file(nullptr);
      throw;
    } catch (...) {
      file.reset();
      return_file(nullptr);
      throw;
    }
    return_file(std::move(file));
  };
  const auto report_lost = [&](int64_t row, const DecodeError& error) {
    std::memset(rows[row], 0, static_cast<size_t>(scratch_size_.planes * size_) * sizeof(float));
    result.lost.push_back({row, error.code, error.what()});
  };
  try {
    for (const ReadRequest& request : requests) {
      const RecordingFile& recording = *request.recording;
      if (heartbeat)
        heartbeat->recording.store(static_cast<uint32_t>(recording.id), std::memory_order_relaxed);
      if (call.cancelled()) throw Cancelled();
      try {
        attempt(recording, request.starts, rows + request.row);
      } catch (const DecodeError& error) {
        if (request.starts.size() == 1) {
          report_lost(request.row, error);
          continue;
        }
        // At least one of the windows is lost. Read each by itself to find out which.
        for (size_t i = 0; i < request.starts.size(); ++i) {
          float* const* row = rows + request.row + i;
          try {
            attempt(recording, {request.starts[i]}, row);
          } catch (const DecodeError& own_error) {
            report_lost(request.row + static_cast<int64_t>(i), own_error);
          }
        }
      }
    }
  } catch (const Cancelled&) {
    result.cancelled = true;
  }
  if (!call.abandoned()) {  // else another call has replaced this one, with a scratch of its own
    const std::lock_guard<std::mutex> guard(mutex_);
    scratches_.push_back(std::move(scratch));
  }
  result.busy_s = now_s() - began;
#ifndef _WIN32
  result.store_s = store_wait_s() - waited_before;
#endif
  return result;
}

}  // namespace headrace
