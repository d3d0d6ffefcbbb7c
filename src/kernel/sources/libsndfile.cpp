#include "sources/libsndfile.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>  // SEEK_SET
#include <cstring>
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
        descriptor_(functions ? std::nullopt : std::make_optional<Descriptor>(spec.place.path)) {
    Info info = {};
    const Request request{library, spec.place.path, spec.format.sndfile_format, functions, file};
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

#ifndef _WIN32
[[noreturn]] void throw_unreadable(int system_error) {
  throw DecodeError("IO", "the file cannot be read" + in_parentheses(std::strerror(system_error)));
}

// A source whose bytes libsndfile reads through functions of ours.
class VirtualSource : public Source {
 public:
  VirtualSource(const SourceSpec& spec, const LibsndfileFunctions& library, std::unique_ptr<Bytes> bytes,
                std::vector<Patch> patches)
      : bytes_(std::move(bytes)), file_(*bytes_, std::move(patches)) {
    try {
      source_ = open_with_libsndfile(spec, library, VirtualBytes::functions(), &file_);
    } catch (const DecodeError&) {
      if (file_.system_error()) throw_unreadable(file_.system_error());
      throw;
    }
  }

  int64_t read(void* to, int64_t frames) override { return source_->read(to, frames); }
  bool seekable() const override { return source_->seekable(); }
  void seek(int64_t frame) override { source_->seek(frame); }
  std::string complaint() override {
    return file_.system_error() ? in_parentheses(std::strerror(file_.system_error())) : source_->complaint();
  }
  bool system_failed() override { return file_.system_error() || source_->system_failed(); }

 private:
  std::unique_ptr<Bytes> bytes_;
  VirtualBytes file_;
  std::unique_ptr<Source> source_;
};
#endif

}  // namespace

VirtualBytes::VirtualBytes(const Bytes& bytes, std::vector<Patch> patches)
    : bytes_(bytes), patches_(std::move(patches)) {
  unsigned char head[10];
  // As guess_file_type() and id3_skip() of libsndfile.
  while (bytes_.read(skipped_, head, 10) == 10 && std::memcmp(head, "ID3", 3) == 0 && head[3] >= 2 && head[3] <= 4) {
    int64_t size = 0;
    for (int i = 6; i < 10; ++i) size = size << 7 | (head[i] & 0x7F);
    if (skipped_ + size + 10 >= bytes_.size()) break;
    skipped_ += size + 10;
  }
  // What it refuses with a tag before it, it is to refuse here, too: see the check of embedding in psf_open_file().
  if (skipped_ == 0 || bytes_.read(skipped_, head, 4) != 4) return;
  const bool mpeg = head[0] == 0xFF && head[1] >= 0xE0;
  const auto is = [&](const char* name) { return std::memcmp(head, name, 4) == 0; };
  if (!mpeg && !is("RIFF") && !is("RIFX") && !is("FORM") && !is(".snd") && !is("fLaC")) skipped_ = 0;
}

LibsndfileFunctions::VirtualFile* VirtualBytes::functions() {
  static LibsndfileFunctions::VirtualFile table = {
      [](void* user) { return static_cast<VirtualBytes*>(user)->bytes_.size(); },
      [](int64_t offset, int whence, void* user) {
        return static_cast<VirtualBytes*>(user)->seek(offset, whence);
      },
      [](void* to, int64_t count, void* user) noexcept {
        return static_cast<VirtualBytes*>(user)->read(static_cast<char*>(to), count);
      },
      [](const void*, int64_t, void*) { return int64_t{0}; },
      [](void* user) { return static_cast<VirtualBytes*>(user)->at_; }};
  return &table;
}

int64_t VirtualBytes::seek(int64_t offset, int whence) {
  const int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? at_ : bytes_.size() - skipped_;
  return at_ = std::max<int64_t>(0, offset + base);
}

int64_t VirtualBytes::read(char* to, int64_t count) {
  const int64_t got = bytes_.read(skipped_ + at_, to, count);
  if (got < 0) system_error_ = errno ? errno : EIO;
  if (got <= 0) return 0;
  for (const Patch& patch : patches_) {
    const int64_t begin = std::max(at_, patch.offset);
    const int64_t stop = std::min(at_ + got, patch.offset + static_cast<int64_t>(patch.bytes.size()));
    for (int64_t i = begin; i < stop; ++i) to[i - at_] = patch.bytes[static_cast<size_t>(i - patch.offset)];
  }
  at_ += got;
  return got;
}

void check_file_bytes(const SourceSpec& spec) {
  if (!spec.place.is_whole_file()) return;
#ifdef _WIN32
  struct _stat64 status;
  const bool regular = _wstat64(reinterpret_cast<const wchar_t*>(spec.place.path.data()), &status) == 0 &&
                       (status.st_mode & _S_IFREG);
#else
  struct stat status;
  const bool regular = ::stat(spec.place.path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
#endif
  if (regular && status.st_size < spec.file_bytes) throw_shorter(status.st_size, spec.file_bytes);
}

Info read_libsndfile_header(const Place& place, const LibsndfileFunctions& library) {
  Info info = {};
#ifndef _WIN32
  if (!place.is_whole_file()) {
    const auto bytes = open_bytes(place);
    VirtualBytes file(*bytes);
    try {
      library.close(open_handle({library, place.path, 0, VirtualBytes::functions(), &file}, {}, &info));
    } catch (const DecodeError&) {
      if (file.system_error()) throw_unreadable(file.system_error());
      throw;
    }
    return info;
  }
#endif
  const std::optional<Descriptor> descriptor(std::in_place, place.path);
  library.close(open_handle({library, place.path, 0, nullptr, nullptr}, descriptor, &info));
  return info;
}

std::unique_ptr<Source> open_with_libsndfile(const SourceSpec& spec,
                                             const LibsndfileFunctions& library) {
#ifndef _WIN32
  if (!spec.place.is_whole_file())
    return open_with_libsndfile(spec, library, open_bytes(spec.place, spec.file_bytes), {});
#endif
  check_file_bytes(spec);
  return std::make_unique<LibsndfileSource>(spec, library, nullptr, nullptr);
}

std::unique_ptr<Source> open_with_libsndfile(const SourceSpec& spec, const LibsndfileFunctions& library,
                                             LibsndfileFunctions::VirtualFile* functions, void* file) {
  return std::make_unique<LibsndfileSource>(spec, library, functions, file);
}

#ifndef _WIN32
std::unique_ptr<Source> open_with_libsndfile(const SourceSpec& spec, const LibsndfileFunctions& library,
                                             std::unique_ptr<Bytes> bytes, std::vector<Patch> patches) {
  return std::make_unique<VirtualSource>(spec, library, std::move(bytes), std::move(patches));
}
#endif

}  // namespace headrace
