#include "sources/libsndfile.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>  // SEEK_SET
#include <optional>
#include <string>
#include <utility>

#ifndef _WIN32
#include <fcntl.h>
#include <unistd.h>
#endif

#include "sources/decode_error.h"
#include "sources/open_lock.h"

namespace headrace {
namespace {

constexpr int READ_MODE = 0x10;           // SFM_READ
constexpr int FROM_START = 0;             // SEEK_SET
constexpr int SYSTEM_ERROR = 2;           // SF_ERR_SYSTEM
constexpr int FORMAT_PARTS = 0x0FFFFFFF;  // container and sample format, without byte order

// Containers that libsndfile knows by more than the bytes of the file.
constexpr int CONTAINER_MASK = 0x0FFF0000;  // SF_FORMAT_TYPEMASK
constexpr int SD2 = 0x160000;               // SF_FORMAT_SD2: its header is in another file
constexpr int MPEG = 0x230000;              // SF_FORMAT_MPEG: anything that is named .mp3

using Info = LibsndfileFunctions::Info;

// An open file of the system.
class Descriptor {
 public:
#ifdef _WIN32
  explicit Descriptor(const std::string&) {}
  int number() const { return -1; }
#else
  explicit Descriptor(const std::string& path) : number_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (number_ < 0) throw_system_error(errno);
  }
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  int number_;
#endif
};

#ifndef _WIN32
// Whether a file that holds the header of an SD2 file is beside it.
bool has_resource_fork(const std::string& path) {
  const size_t name = path.rfind('/') + 1;  // 0 if there is no slash
  const std::string folder = path.substr(0, name), rest = path.substr(name);
  for (const std::string& fork : {path + "/..namedfork/rsrc", folder + "._" + rest,
                                  folder + ".AppleDouble/" + rest})
    if (::access(fork.c_str(), F_OK) == 0) return true;
  return false;
}
#endif

// What an open needs. `functions` is null for the file at `path`.
struct Request {
  const LibsndfileFunctions& library;
  const std::string& path;
  int known_format;  // of the scan; 0 during it
  LibsndfileFunctions::VirtualFile* functions;
  void* file;

  void* open(const std::optional<Descriptor>& descriptor, Info* info) const {
    *info = {};
    if (functions) {
      functions->seek(0, SEEK_SET, file);
      return library.open_virtual(functions, READ_MODE, info, file);
    }
#ifdef _WIN32
    (void)descriptor;
    return library.open(path.c_str(), READ_MODE, info);
#else
    // By its descriptor libsndfile does not see the file's name, by which it would take a text for audio.
    ::lseek(descriptor->number(), 0, SEEK_SET);
    return library.open_fd(descriptor->number(), READ_MODE, info, false);
#endif
  }

  // Open the file by its name, where what it is depends on that.
  void* open_by_name(Info* info) const {
#ifndef _WIN32
    const bool was_mp3 = (known_format & CONTAINER_MASK) == MPEG;  // in a catalog of headrace 0.1
    if (functions || !(was_mp3 || has_resource_fork(path))) return nullptr;
    *info = {};
    void* handle = library.open(path.c_str(), READ_MODE, info);
    const int container = info->format & CONTAINER_MASK;
    if (handle && (container == SD2 || (container == MPEG && was_mp3))) return handle;
    if (handle) library.close(handle);
#endif
    return nullptr;
  }
};

// Open a file. Throws DecodeError.
void* open_handle(const Request& request, const std::optional<Descriptor>& descriptor, Info* info) {
  OpenLock& lock = OpenLock::of_process();
  {
    const OpenLock::Hold hold(lock, OpenLock::Hold::SHARED);
    if (void* handle = request.open(descriptor, info)) return handle;
  }
  const OpenLock::Hold hold(lock, OpenLock::Hold::ALONE);
  if (void* handle = request.open(descriptor, info)) return handle;
  const int error = request.library.error(nullptr);
  std::string reason = error ? in_parentheses(request.library.strerror(nullptr)) : "";
  if (void* handle = request.open_by_name(info)) return handle;
  if (!hold.still_holds()) reason.clear();
#ifndef _WIN32
  if (error == SYSTEM_ERROR && !request.functions)
    throw DecodeError("IO", "the file cannot be read" + reason);
#endif
  throw DecodeError("NOT_AUDIO", "no decoder recognises it" + reason);
}

class LibsndfileSource : public Source {
 public:
  LibsndfileSource(const SourceSpec& spec, const LibsndfileFunctions& library,
                   LibsndfileFunctions::VirtualFile* functions, void* file)
      : library_(library),
        sample_type_(spec.format.sample_type),
        seekable_(spec.format.exact_seek),
        descriptor_(functions ? std::nullopt : std::make_optional<Descriptor>(spec.path)) {
    Info info = {};
    const Request request{library, spec.path, spec.format.sndfile_format, functions, file};
    handle_ = open_handle(request, descriptor_, &info);
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
  static std::string difference_of(const Info& info, const SourceFormat& format) {
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
  const std::optional<Descriptor> descriptor_;
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

Info read_libsndfile_header(const std::string& path, const LibsndfileFunctions& library) {
  const std::optional<Descriptor> descriptor(std::in_place, path);
  Info info = {};
  library.close(open_handle({library, path, 0, nullptr, nullptr}, descriptor, &info));
  return info;
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
