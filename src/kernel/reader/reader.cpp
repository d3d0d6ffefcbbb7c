#include "reader/reader.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "arithmetic/float_mode.h"

namespace headrace {
namespace {

double now_s() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

struct GaveUp {};

// What is not asked for again: whoever is told so may go on with the file that he has.
struct KnownEnd : Fault {
  explicit KnownEnd(const Fault& fault) : Fault(fault) {}
};

// How many files' early ends are remembered: some dozens of bytes each.
constexpr size_t MOST_ENDS = 1 << 12;

// Samples converted at a time on their way past the caches: they stay in the first of them.
constexpr int64_t BLOCK = 1 << 10;

// Windows from this many samples on that touch no other are resampled straight into their rows;
// shorter ones are made many at a time and copied.
constexpr int64_t DIRECT = 1 << 12;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }  // a >= 0

}  // namespace

// The memory of one call: bounded, however long its reads are.
struct Reader::Scratch {
  explicit Scratch(const ScratchSize& size, int64_t filter)
      : pcm(static_cast<size_t>(size.pcm)),
        x(static_cast<size_t>(size.planes * size.inputs)),
        y(static_cast<size_t>(size.planes * size.outputs)),
        between(static_cast<size_t>(filter)) {}
  std::vector<unsigned char> pcm;
  std::vector<float> x, y, between;
};

struct Reader::Call {
  Scratch& scratch;
  const volatile unsigned char* cancel;
  volatile Beat* beat;
  Outcome& outcome;
  bool given_up() const { return beat && beat->given_up; }
  bool cancelled() const {
    if (beat) beat->pulse = beat->pulse + 1;
    return *cancel || given_up();
  }
};

// An open source and the inputs that it gave last, as float32 planes.
struct Reader::OpenFile {
  OpenFile(const Reader& reader, const Recording& recording, const Kind& k)
      : id(recording.id), kind(k), facts(k.facts), library(reader.library_) {
    facts.path = recording.path;
    facts.frames = recording.frames;
    facts.bytes = recording.bytes;
    facts.seek_points = recording.seek_points;
    if (reader.channel_ == ALL)
      for (int c = 0; c < facts.channels; ++c) channels.push_back(c);
    else
      channels.push_back(reader.channel_);
    keep = facts.seekable ? 0 : k.keep;
    kept.resize(static_cast<size_t>(keep) * channels.size());
    source = open_source(facts, library);
  }

  int64_t begin() const { return position - kept_count; }

  // Fill `count` inputs from `start` on into planes that are `stride` floats apart. Those that nobody
  // here will look at again, `past` the caches: a slab is larger than they are.
  void read(int64_t start, float* to, int64_t stride, int64_t count, const Call& call,
            bool past = false) {
    int64_t done = 0;
    if (begin() <= start && start < position) {
      done = std::min(count, position - start);
      const int64_t skip = keep - (position - start);
      for (size_t p = 0; p < channels.size(); ++p)
        std::memcpy(to + static_cast<int64_t>(p) * stride,
                    kept.data() + static_cast<int64_t>(p) * keep + skip,
                    static_cast<size_t>(done) * sizeof(float));
      if (done == count) return;
    }
    const int64_t frame_bytes = static_cast<int64_t>(sample_bytes(facts.type)) * facts.channels;
    const int64_t room = static_cast<int64_t>(call.scratch.pcm.size()) / frame_bytes;
    unsigned char* pcm = call.scratch.pcm.data();
    move_to(start + done, pcm, room, call);
    const int64_t fresh = done;
    while (done < count) {
      if (call.cancelled()) throw GaveUp();
      const int64_t frames = std::min(room, count - done);
      exactly(pcm, frames);
      for (size_t p = 0; p < channels.size(); ++p) {
        float* plane = to + static_cast<int64_t>(p) * stride + done;
        if (!past) {
          convert_to(plane, pcm, frames, channels[p], start + done);
          continue;
        }
        for (int64_t at = 0; at < frames; at += BLOCK) {
          const int64_t some = std::min(BLOCK, frames - at);
          float* block = call.scratch.y.data();
          convert_to(block, pcm + at * frame_bytes, some, channels[p], start + done + at);
          stream(block, some, plane + at);
        }
      }
      done += frames;
    }
    remember(to + fresh, stride, count - fresh);
  }

  void move_to(int64_t frame, unsigned char* pcm, int64_t room, const Call& call) {
    if (position == frame) return;
    if (source->seeks()) {
      source->seek(frame);
      position = frame;
      kept_count = 0;
      return;
    }
    if (frame < position) {
      source.reset();
      source = open_source(facts, library);
      position = kept_count = 0;
    }
    while (position < frame) {
      if (call.cancelled()) throw GaveUp();
      exactly(pcm, std::min(room, frame - position));
      kept_count = 0;
    }
  }

  void exactly(unsigned char* pcm, int64_t frames) {
    wanted = position + frames;
    const int64_t got = source->read(pcm, frames);
    position += got;
    if (got == frames) return;
    const bool system = source->system_failed();
    ended = !system;
    // Where exactly it stopped is not said: a decoder may give up a whole piece for a fault in it.
    throw Fault(system ? "IO" : "TRUNCATED",
                std::string(system ? "the file cannot be read" : "the file is cut short or damaged") +
                    ": fewer than its " + std::to_string(facts.frames) + " frames can be decoded" +
                    source->complaint());
  }

  // `frame` is the number of the first.
  void convert_to(float* to, const unsigned char* pcm, int64_t frames, int channel,
                  int64_t frame) const {
    if (convert_any(pcm, frames, channel, to)) return;
    int64_t bad = 0;
    while (std::isfinite(to[bad])) ++bad;
    throw Fault("NON_FINITE", "the audio holds NaN or infinity at frame " +
                                  std::to_string(frame + bad) + ": repair or leave out the file");
  }

  bool convert_any(const unsigned char* pcm, int64_t frames, int channel, float* to) const {
    switch (facts.type) {
      case SampleType::INT16:
        return convert(reinterpret_cast<const int16_t*>(pcm), frames, facts.channels, channel, to);
      case SampleType::INT32:
        return convert(reinterpret_cast<const int32_t*>(pcm), frames, facts.channels, channel, to);
      case SampleType::FLOAT32:
        return convert(reinterpret_cast<const float*>(pcm), frames, facts.channels, channel, to);
      default:
        return convert(reinterpret_cast<const double*>(pcm), frames, facts.channels, channel, to);
    }
  }

  // Keep the last `keep` of what was kept and of `count` new inputs, at the end of the buffer.
  void remember(const float* from, int64_t stride, int64_t count) {
    const int64_t add = std::min(count, keep), left = keep - add;
    for (size_t p = 0; p < channels.size() && keep; ++p) {
      float* plane = kept.data() + static_cast<int64_t>(p) * keep;
      std::memmove(plane, plane + add, static_cast<size_t>(left) * sizeof(float));
      std::memcpy(plane + left, from + static_cast<int64_t>(p) * stride + count - add,
                  static_cast<size_t>(add) * sizeof(float));
    }
    kept_count = std::min(keep, kept_count + count);
  }

  int64_t id;
  const Kind& kind;
  Facts facts;
  const Sndfile& library;
  std::unique_ptr<Source> source;
  int64_t position = 0;  // the frame that the source gives next
  int64_t wanted = 0;    // the end of the piece that was decoded last, or could not be
  bool ended = false;    // before the frames that were declared
  std::vector<int> channels;
  std::vector<float> kept;
  int64_t keep = 0, kept_count = 0;
};

// The inputs of a rising sequence of outputs, sliding through the scratch.
struct Reader::Inputs {
  OpenFile& file;
  const Filter& filter;
  int64_t stride;
  int64_t low, high;  // what the whole read depends on, inside the file
  int64_t begin, filled;

  Inputs(OpenFile& f, int64_t stride_, int64_t start, int64_t stop)
      : file(f), filter(*f.kind.filter), stride(stride_) {
    const Span all = filter.support(start, stop);
    low = std::max<int64_t>(0, all.begin);
    high = std::min(file.facts.frames, all.end);
    begin = filled = filter.span(start, start + 1).begin;
  }

  // Make x hold what outputs [start, stop) need, from input `begin` on. Zeros stand for what is
  // outside the file, or outside what the read depends on.
  void load(int64_t start, int64_t stop, const Call& call) {
    const Span need = filter.span(start, stop);
    if (need.end - need.begin > stride) throw std::logic_error("the scratch is too small");
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

Reader::Reader(std::vector<Kind> kinds, Sndfile library, ResampleFn resample, int64_t size,
               int channel, ScratchSize scratch, int64_t idle)
    : kinds_(std::move(kinds)),
      library_(library),
      resample_(resample),
      size_(size),
      channel_(channel),
      scratch_size_(scratch),
      idle_limit_(idle) {}

Reader::~Reader() = default;

void Reader::close() {
  std::list<std::unique_ptr<OpenFile>> closing;
  const std::lock_guard<std::mutex> guard(mutex_);
  closed_ = true;
  closing.swap(idle_);
}

std::unique_ptr<Reader::OpenFile> Reader::lease(const Recording& recording, int64_t start) {
  const Kind& kind = kinds_[static_cast<size_t>(recording.kind)];
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    // The nearest that is not past the first input; else any, which will have to go back.
    const int64_t input = std::max<int64_t>(0, kind.filter->support(start, start + 1).begin);
    auto best = idle_.end();
    for (auto it = idle_.begin(); it != idle_.end(); ++it) {
      if ((*it)->id != recording.id) continue;
      const auto rank = [&](const OpenFile& f) {
        return std::pair<bool, int64_t>(f.begin() <= input, f.begin());
      };
      if (best == idle_.end() || rank(**it) > rank(**best)) best = it;
    }
    ++leased_;
    const int64_t open = leased_ + static_cast<int64_t>(idle_.size()) - (best != idle_.end());
    if (open > most_open_.load()) most_open_.store(open);
    if (best != idle_.end()) {
      std::unique_ptr<OpenFile> file = std::move(*best);
      idle_.erase(best);
      return file;
    }
  }
  try {
    return std::make_unique<OpenFile>(*this, recording, kind);
  } catch (...) {
    const std::lock_guard<std::mutex> guard(mutex_);
    --leased_;
    throw;
  }
}

void Reader::give_back(std::unique_ptr<OpenFile> file) {
  std::unique_ptr<OpenFile> closing;  // after the lock is let go
  const std::lock_guard<std::mutex> guard(mutex_);
  --leased_;
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

void Reader::check_end(int64_t recording, int64_t input) {
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto end = ends_.find(recording);
  if (end != ends_.end() && input >= end->second.first) throw KnownEnd(end->second.second);
}

void Reader::note_end(int64_t recording, int64_t frame, const Fault& fault) {
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto known = ends_.find(recording);
  if (known != ends_.end())
    known->second.first = std::min(known->second.first, frame);
  else if (ends_.size() < MOST_ENDS)
    ends_.emplace(recording, std::make_pair(frame, fault));
}

void Reader::windows(OpenFile& file, const std::vector<int64_t>& starts, float* const* rows,
                     Call& call) {
  const int64_t total = ceil_div(file.facts.frames * file.kind.output_up, file.kind.output_down);
  const int64_t planes = scratch_size_.planes, stride = scratch_size_.inputs;
  const size_t count = starts.size();
  bool direct = size_ >= DIRECT;
  for (size_t i = 1; i < count; ++i) direct = direct && starts[i - 1] + size_ <= starts[i];

  const auto end_of = [&](size_t i) {
    return std::max(starts[i], std::min(starts[i] + size_, total));
  };
  if (direct && file.kind.filter->identity()) {  // what is decoded is what is delivered
    for (size_t i = 0; i < count; ++i) {
      const double t0 = now_s();
      const int64_t length = end_of(i) - starts[i];
      if (!file.source->seeks()) check_end(file.id, starts[i] + length);
      if (length > 0) file.read(starts[i], rows[i], size_, length, call, true);
      for (int64_t p = 0; p < planes; ++p)
        std::memset(rows[i] + p * size_ + length, 0,
                    static_cast<size_t>(size_ - length) * sizeof(float));
      call.outcome.decode_s += now_s() - t0;
    }
    return;
  }
  Inputs inputs(file, stride, starts[0], std::max(starts[0] + 1, end_of(count - 1)));
  if (!file.source->seeks()) check_end(file.id, inputs.high);
  Scratch& scratch = call.scratch;
  const auto make = [&](int64_t begin, int64_t stop, float* to, int64_t to_stride) {
    const double t0 = now_s();
    inputs.load(begin, stop, call);
    const double t1 = now_s();
    for (int64_t p = 0; p < planes; ++p)
      file.kind.filter->apply(resample_, scratch.x.data() + p * stride, inputs.begin,
                              to + p * to_stride, begin, stop, scratch.between.data());
    call.outcome.decode_s += t1 - t0;
    call.outcome.resample_s += now_s() - t1;
  };
  if (direct) {
    for (size_t i = 0; i < count; ++i)
      for (int64_t c = starts[i]; c < end_of(i); c += file.kind.chunk)
        make(c, std::min(c + file.kind.chunk, end_of(i)), rows[i] + (c - starts[i]), size_);
  } else {
    float* y = scratch.y.data();
    const int64_t y_stride = scratch_size_.outputs;
    size_t first = 0;
    for (int64_t c = starts[0]; c < end_of(count - 1); c += file.kind.chunk) {
      const int64_t stop = std::min(c + file.kind.chunk, end_of(count - 1));
      make(c, stop, y, y_stride);
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

Outcome Reader::read(const std::vector<Recording>& recordings, const std::vector<Read>& reads,
                     float* const* rows, const volatile unsigned char* cancel,
                     volatile Beat* beat) {
  const double began = now_s();
  const DefaultFloatMode mode;
  Outcome outcome;
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
    for (const Kind& kind : kinds_) between = std::max(between, kind.filter->scratch(kind.chunk));
    scratch = std::make_unique<Scratch>(scratch_size_, between);
  }
  Call call{*scratch, cancel, beat, outcome};

  // Read some windows with a file of their own; whether it can be used again shows at the end.
  const auto attempt = [&](const Recording& recording, const std::vector<int64_t>& starts,
                           float* const* to) {
    std::unique_ptr<OpenFile> file = lease(recording, starts[0]);
    try {
      windows(*file, starts, to, call);
    } catch (const KnownEnd&) {
      give_back(std::move(file));
      throw;
    } catch (const Fault& fault) {
      if (file->source && !file->source->seeks() && file->ended) note_end(file->id, file->wanted, fault);
      file.reset();
      give_back(nullptr);
      throw;
    } catch (...) {
      file.reset();
      give_back(nullptr);
      throw;
    }
    give_back(std::move(file));
  };
  const auto lose = [&](int64_t row, const Fault& fault) {
    std::memset(rows[row], 0, static_cast<size_t>(scratch_size_.planes * size_) * sizeof(float));
    outcome.lost.push_back({row, fault.code, fault.what()});
  };
  try {
    for (const Read& read : reads) {
      const Recording& recording = recordings[static_cast<size_t>(read.recording)];
      if (beat) beat->recording = static_cast<uint32_t>(recording.id);
      if (call.cancelled()) throw GaveUp();
      try {
        attempt(recording, read.starts, rows + read.row);
      } catch (const Fault& fault) {
        if (read.starts.size() == 1) {
          lose(read.row, fault);
          continue;
        }
        // One of the windows is lost; which ones, each has to find out for itself.
        for (size_t i = 0; i < read.starts.size(); ++i) {
          float* const* row = rows + read.row + i;
          try {
            attempt(recording, {read.starts[i]}, row);
          } catch (const Fault& its_own) {
            lose(read.row + static_cast<int64_t>(i), its_own);
          }
        }
      }
    }
  } catch (const GaveUp&) {
    outcome.cancelled = true;
  }
  if (!call.given_up()) {  // else another call has taken its place, with another scratch
    const std::lock_guard<std::mutex> guard(mutex_);
    scratches_.push_back(std::move(scratch));
  }
  outcome.busy_s = now_s() - began;
  return outcome;
}

}  // namespace headrace
