#include "sources/libsndfile.h"

#include <sys/stat.h>

#include <cerrno>
#include <string>

#ifndef _WIN32
#include <fcntl.h>
#include <unistd.h>
#endif

#include "sources/decode_error.h"

namespace headrace {
namespace {

constexpr int READ_MODE = 0x10;           // SFM_READ
constexpr int FROM_START = 0;             // SEEK_SET
constexpr int SYSTEM_ERROR = 2;           // SF_ERR_SYSTEM
constexpr int FORMAT_PARTS = 0x0FFFFFFF;  // container and sample format, without byte order

class LibsndfileSource : public Source {
 public:
  LibsndfileSource(const SourceSpec& spec, const LibsndfileFunctions& library,
                   LibsndfileFunctions::VirtualFile* functions, void* file)
      : library_(library),
        sample_type_(spec.format.sample_type),
        seekable_(spec.format.exact_seek) {
    LibsndfileFunctions::Info info = {};
    handle_ = functions ? library.open_virtual(functions, READ_MODE, &info, file)
                        : library.open(spec.path.c_str(), READ_MODE, &info);
    if (!handle_) {
#ifndef _WIN32
      // libsndfile calls every error of the system "System error": ask the system itself.
      const int descriptor = ::open(spec.path.c_str(), O_RDONLY | O_CLOEXEC);
      if (descriptor < 0) throw_system_error(errno);
      ::close(descriptor);
#endif
      throw DecodeError("NOT_AUDIO",
                        "no decoder recognises it" + in_parentheses(library.strerror(nullptr)));
    }
    const std::string difference = difference_of(info, spec.format);
    if (!difference.empty()) {
      library_.close(handle_);
      throw DecodeError("CHANGED", difference + " when it was scanned: scan again");
    }
  }
  ~LibsndfileSource() override { library_.close(handle_); }
  LibsndfileSource(const LibsndfileSource&) = delete;
  LibsndfileSource& operator=(const LibsndfileSource&) = delete;

  int64_t read(void* to, int64_t frames) override {
    const int64_t got = library_.readf[static_cast<int>(sample_type_)](handle_, to, frames);
    // After an error the samples are not what was recorded, even if there are as many as asked for.
    return got < 0 || (got == frames && library_.error(handle_)) ? 0 : got;
  }
  bool seekable() const override { return seekable_; }
  void seek(int64_t frame) override {
    if (library_.seek(handle_, frame, FROM_START) != frame)
      throw DecodeError("TRUNCATED", "the decoder cannot seek to frame " + std::to_string(frame) +
                                         ": the file is cut short or damaged" + complaint());
  }
  std::string complaint() override {
    return library_.error(handle_) ? in_parentheses(library_.strerror(handle_)) : "";
  }
  bool system_failed() override { return library_.error(handle_) == SYSTEM_ERROR; }

 private:
  static std::string difference_of(const LibsndfileFunctions::Info& info, const SourceFormat& format) {
    if ((info.format & FORMAT_PARTS) != format.sndfile_format)
      return "the file has another format than";
    if (info.samplerate != format.sample_rate)
      return "the file has a sample rate of " + std::to_string(info.samplerate) + " Hz, but had " +
             std::to_string(format.sample_rate);
    if (info.channels != format.channels)
      return "the file has " + std::to_string(info.channels) + " channels, but had " +
             std::to_string(format.channels);
    return "";
  }

  const LibsndfileFunctions& library_;
  SampleType sample_type_;
  bool seekable_;
  void* handle_;
};

}  // namespace

void check_file_bytes(const SourceSpec& spec) {
#ifdef _WIN32
  struct _stat64 status;
  const bool regular = _wstat64(reinterpret_cast<const wchar_t*>(spec.path.data()), &status) == 0 &&
                       (status.st_mode & _S_IFREG);
#else
  struct stat status;
  const bool regular = ::stat(spec.path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
#endif
  if (regular && status.st_size < spec.file_bytes) throw_shorter(status.st_size, spec.file_bytes);
}

std::unique_ptr<Source> open_with_libsndfile(const SourceSpec& spec,
                                             const LibsndfileFunctions& library) {
  check_file_bytes(spec);
  return std::make_unique<LibsndfileSource>(spec, library, nullptr, nullptr);
}

std::unique_ptr<Source> open_with_libsndfile(const SourceSpec& spec, const LibsndfileFunctions& library,
                                             LibsndfileFunctions::VirtualFile* functions, void* file) {
  return std::make_unique<LibsndfileSource>(spec, library, functions, file);
}

}  // namespace headrace
