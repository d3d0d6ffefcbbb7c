#include "sources/source.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#ifndef _WIN32
#include <fcntl.h>
#include <unistd.h>

#include "sources/flac_file.h"
#endif

#include "sources/mp3_source.h"

namespace headrace {
namespace {

constexpr int READ_MODE = 0x10;         // SFM_READ
constexpr int FROM_START = 0;           // SEEK_SET
constexpr int SYSTEM_ERROR = 2;         // SF_ERR_SYSTEM
constexpr int FORMAT_PARTS = 0x0FFFFFFF;  // container and sample format, without byte order
constexpr int FORMAT_TYPE = 0x0FFF0000;   // SF_FORMAT_TYPEMASK
constexpr int FLAC = 0x170000;            // SF_FORMAT_FLAC; with the bytes of a sample as its sample format

std::string quoted(const char* text) {
  std::string why(text ? text : "");
  while (!why.empty() && (why.back() == '.' || why.back() == '\n')) why.pop_back();
  return why.empty() ? "" : " (" + why + ")";
}

[[noreturn]] void throw_system(int number) {
  if (number == ENOENT || number == ENOTDIR) throw Fault("MISSING", "the file is not there");
  if (number == EACCES || number == EPERM)
    throw Fault("PERMISSION", "the file may not be read: check its permissions");
  throw Fault("IO", std::string("the system says: ") + std::strerror(number));
}

// A recorder that still writes makes a file longer, and what was scanned of it stays what it is. A file
// that is shorter is another one, or a part of it.
[[noreturn]] void throw_shorter(int64_t now, int64_t then) {
  throw Fault("CHANGED", "the file has " + std::to_string(now) + " bytes, but had " +
                             std::to_string(then) + " when it was scanned: scan again");
}

#ifndef _WIN32

class File : public Bytes {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {
    struct stat status;
    if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) return;
    size_ = status.st_size;
    regular_ = true;
  }
  ~File() override { ::close(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int64_t size() const override { return size_; }
  bool shorter_than(int64_t bytes) const { return regular_ && size_ < bytes; }
  int64_t read(int64_t offset, void* to, int64_t count) const override {
    int64_t done = 0;
    while (done < count) {
      const ssize_t got = ::pread(descriptor_, static_cast<char*>(to) + done,
                                  static_cast<size_t>(count - done), offset + done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return -1;
      if (got == 0) break;
      done += got;
    }
    return done;
  }

 private:
  int descriptor_;
  int64_t size_ = 0;
  bool regular_ = false;
};

// The samples of a plain WAV, at their offset.
class WavSource : public Source {
 public:
  WavSource(std::unique_ptr<Bytes> file, const WavLayout& layout)
      : file_(std::move(file)), layout_(layout) {}

  int64_t read(void* to, int64_t frames) override {
    if (frames > layout_.frames - position_) frames = layout_.frames - position_;
    const int64_t encoded = encoded_bytes(layout_.encoding);
    const int64_t samples = frames * layout_.channels;
    // Samples that widen are read into the end of the memory that they will fill.
    const int64_t widened = layout_.encoding == Encoding::UINT8   ? 2
                            : layout_.encoding == Encoding::INT24 ? 4
                                                                  : encoded;
    unsigned char* raw = static_cast<unsigned char*>(to) + samples * (widened - encoded);
    const int64_t got = file_->read(layout_.data_offset + position_ * layout_.channels * encoded, raw,
                                    samples * encoded);
    failed_ = got < 0;
    const int64_t whole = failed_ ? 0 : got / (layout_.channels * encoded);
    const int64_t count = whole * layout_.channels;
    if (layout_.encoding == Encoding::UINT8) {
      int16_t* out = static_cast<int16_t*>(to);
      for (int64_t i = 0; i < count; ++i) out[i] = static_cast<int16_t>((raw[i] - 128) * 256);
    } else if (layout_.encoding == Encoding::INT24) {
      int32_t* out = static_cast<int32_t*>(to);
      for (int64_t i = 0; i < count; ++i) {
        const unsigned char* p = raw + 3 * i;
        out[i] = static_cast<int32_t>(static_cast<uint32_t>(p[0]) << 8 |
                                      static_cast<uint32_t>(p[1]) << 16 |
                                      static_cast<uint32_t>(p[2]) << 24);
      }
    }
    position_ += whole;
    return whole;
  }

  void seek(int64_t frame) override { position_ = frame; }
  std::string complaint() override { return failed_ ? quoted(std::strerror(errno)) : ""; }
  bool system_failed() override { return failed_; }

 private:
  std::unique_ptr<Bytes> file_;
  WavLayout layout_;
  int64_t position_ = 0;
  bool failed_ = false;
};

std::unique_ptr<Source> open_wav(const Facts& facts) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
  return nullptr;
#endif
  auto file = open_bytes(facts.path, facts.bytes);
  WavLayout layout;
  if (!parse_wav(*file, &layout) || static_cast<int>(layout.encoding) != facts.wav_encoding ||
      layout.channels != facts.channels || layout.sample_rate != facts.sample_rate ||
      layout.frames != facts.frames)
    return nullptr;  // libsndfile shall say what it is
  return std::make_unique<WavSource>(std::move(file), layout);
}

#endif  // _WIN32

// libsndfile opens by path; so the system is asked by path, too.
void check_size(const Facts& facts) {
#ifdef _WIN32
  struct _stat64 status;
  const bool regular = _wstat64(reinterpret_cast<const wchar_t*>(facts.path.data()), &status) == 0 &&
                       (status.st_mode & _S_IFREG);
#else
  struct stat status;
  const bool regular = ::stat(facts.path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
#endif
  if (regular && status.st_size < facts.bytes) throw_shorter(status.st_size, facts.bytes);
}

class SndfileSource : public Source {
 public:
  SndfileSource(const Facts& facts, const Sndfile& library, Sndfile::Virtual* functions, void* file)
      : library_(library), type_(facts.type), seeks_(facts.seekable) {
    Sndfile::Info info = {};
    handle_ = functions ? library.open_virtual(functions, READ_MODE, &info, file)
                        : library.open(facts.path.c_str(), READ_MODE, &info);
    if (!handle_) {
#ifndef _WIN32
      // libsndfile calls everything "System error": ask the system itself.
      const int descriptor = ::open(facts.path.c_str(), O_RDONLY | O_CLOEXEC);
      if (descriptor < 0) throw_system(errno);
      ::close(descriptor);
#endif
      throw Fault("NOT_AUDIO", "no decoder recognises it" + quoted(library.strerror(nullptr)));
    }
    std::string change;
    if ((info.format & FORMAT_PARTS) != facts.format)
      change = "the file has another format than";
    else if (info.samplerate != facts.sample_rate)
      change = "the file has a sample rate of " + std::to_string(info.samplerate) + " Hz, but had " +
               std::to_string(facts.sample_rate);
    else if (info.channels != facts.channels)
      change = "the file has " + std::to_string(info.channels) + " channels, but had " +
               std::to_string(facts.channels);
    if (!change.empty()) {
      library_.close(handle_);
      throw Fault("CHANGED", change + " when it was scanned: scan again");
    }
  }
  ~SndfileSource() override { library_.close(handle_); }
  SndfileSource(const SndfileSource&) = delete;
  SndfileSource& operator=(const SndfileSource&) = delete;

  int64_t read(void* to, int64_t frames) override {
    const int64_t got = library_.readf[static_cast<int>(type_)](handle_, to, frames);
    // With a complaint they are not what was recorded, although they are as many.
    return got < 0 || (got == frames && library_.error(handle_)) ? 0 : got;
  }
  bool seeks() const override { return seeks_; }
  void seek(int64_t frame) override {
    if (library_.seek(handle_, frame, FROM_START) != frame)
      throw Fault("TRUNCATED", "the decoder cannot go to frame " + std::to_string(frame) +
                                   ": the file is cut short or damaged" + complaint());
  }
  std::string complaint() override {
    return library_.error(handle_) ? quoted(library_.strerror(handle_)) : "";
  }
  bool system_failed() override { return library_.error(handle_) == SYSTEM_ERROR; }

 private:
  const Sndfile& library_;
  SampleType type_;
  bool seeks_;
  void* handle_;
};

#ifndef _WIN32

// The samples of a FLAC file, and where our own reader comes to an end, what libsndfile has to say.
class FlacSource : public Source {
 public:
  FlacSource(std::unique_ptr<FlacFile> file, const Facts& facts, const Sndfile& library)
      : file_(std::move(file)), facts_(facts), library_(library) {}

  int64_t read(void* to, int64_t frames) override {
    if (!other_) {
      frames = std::min(frames, facts_.frames - position_);
      if (file_->read(to, frames) == frames) {
        position_ += frames;
        return frames;
      }
      other_ = open_sndfile(facts_, library_);
      if (position_ > 0) other_->seek(position_);
    }
    return other_->read(to, frames);
  }

  // Back to our own reader, so that what follows depends on nothing before.
  void seek(int64_t frame) override {
    other_.reset();
    file_->seek(frame);
    position_ = frame;
  }
  std::string complaint() override { return other_ ? other_->complaint() : ""; }
  bool system_failed() override { return other_ && other_->system_failed(); }

 private:
  std::unique_ptr<FlacFile> file_;
  const Facts facts_;
  const Sndfile& library_;
  std::unique_ptr<Source> other_;
  int64_t position_ = 0;  // of `file_`, unless there is another
};

std::unique_ptr<Source> open_flac(const Facts& facts, const Sndfile& library) {
  auto file = FlacFile::open(open_bytes(facts.path, facts.bytes));
  if (!file) return nullptr;
  const FlacStream& stream = file->stream();
  if ((facts.format & ~FLAC) != stream.bits / 8 || stream.channels != facts.channels ||
      stream.sample_rate != facts.sample_rate || stream.frames != facts.frames)
    return nullptr;
  return std::make_unique<FlacSource>(std::move(file), facts, library);
}

#endif  // _WIN32

}  // namespace

int sample_bytes(SampleType type) {
  return type == SampleType::INT16 ? 2 : type == SampleType::FLOAT64 ? 8 : 4;
}

#ifndef _WIN32
std::unique_ptr<Bytes> open_bytes(const std::string& path, int64_t least) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw_system(errno);
  auto file = std::make_unique<File>(descriptor);
  if (file->shorter_than(least)) throw_shorter(file->size(), least);
  return file;
}
#endif

std::unique_ptr<Source> open_sndfile(const Facts& facts, const Sndfile& library) {
  check_size(facts);
  return std::make_unique<SndfileSource>(facts, library, nullptr, nullptr);
}

std::unique_ptr<Source> open_virtual(const Facts& facts, const Sndfile& library,
                                     Sndfile::Virtual* functions, void* file) {
  return std::make_unique<SndfileSource>(facts, library, functions, file);
}

std::unique_ptr<Source> open_source(const Facts& facts, const Sndfile& library) {
  if (facts.opener) {
    check_size(facts);
    return facts.opener(facts);
  }
#ifndef _WIN32
  if (facts.wav_encoding >= 0)
    if (auto source = open_wav(facts)) return source;
  if ((facts.format & FORMAT_TYPE) == FLAC)
    if (auto source = open_flac(facts, library)) return source;
  if (!facts.seek_points.empty())
    if (auto source = open_mp3(facts, library)) return source;
#endif
  return open_sndfile(facts, library);
}

}  // namespace headrace
