// Decoding with libsndfile, through the functions of the library that the soundfile package ships.
//
// The kernel links no libsndfile of its own: it is given the addresses of the functions, and this header
// declares the part of the library's stable binary interface that is used (sndfile.h).
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sources/bytes.h"
#include "sources/place.h"
#include "sources/source.h"

namespace headrace {

// The functions sf_open, sf_close, ... by their names without the prefix. On Windows `open` is
// sf_wchar_open, and `open_fd` is not called.
struct LibsndfileFunctions {
  struct Info {  // SF_INFO
    int64_t frames;
    int samplerate, channels, format, sections, seekable;
  };
  // A file that libsndfile reads through functions of ours (SF_VIRTUAL_IO). `user` is passed to each.
  struct VirtualFile {
    int64_t (*size)(void* user);
    int64_t (*seek)(int64_t offset, int whence, void* user);
    int64_t (*read)(void* to, int64_t count, void* user);
    int64_t (*write)(const void* from, int64_t count, void* user);
    int64_t (*tell)(void* user);
  };
  void* (*open)(const void* path, int mode, Info* info);
  int (*close)(void*);
  int64_t (*seek)(void*, int64_t frames, int whence);
  int64_t (*readf[4])(void*, void* to, int64_t frames);  // indexed by SampleType
  int (*error)(void*);
  const char* (*strerror)(void*);
  void* (*open_virtual)(VirtualFile*, int mode, Info* info, void* user);
  void* (*open_fd)(int descriptor, int mode, Info* info, int close_descriptor);
};

// Bytes that libsndfile is to see in the place of others.
struct Patch {
  int64_t offset;
  std::string bytes;
};

// Bytes as a virtual file: a part of a file, what a store gives, a file with another header.
//
// Of a virtual file libsndfile does not skip the ID3 tags as it does of others (it forgets SF_PRIVATE.fileoffset). So
// it is shown what follows them, and the size with them, as it sees a file that it opens itself.
class VirtualBytes {
 public:
  // `bytes` has to outlive this.
  explicit VirtualBytes(const Bytes& bytes, std::vector<Patch> patches = {});

  // What the system reported where the bytes could not be read; 0 if they could.
  int system_error() const { return system_error_; }

  static LibsndfileFunctions::VirtualFile* functions();

 private:
  int64_t read(char* to, int64_t count);
  int64_t seek(int64_t offset, int whence);

  const Bytes& bytes_;
  const std::vector<Patch> patches_;
  int64_t skipped_ = 0;  // bytes of ID3 tags
  int64_t at_ = 0;
  int system_error_ = 0;
};

constexpr int CONTAINER_MASK = 0x0FFF0000;   // SF_FORMAT_TYPEMASK
constexpr int FLAC_CONTAINER = 0x00170000;   // SF_FORMAT_FLAC
// What libsndfile reads from a file's header, unchecked. Throws DecodeError: NOT_AUDIO if libsndfile refuses
// the file, else what the system reports.
LibsndfileFunctions::Info read_libsndfile_header(const Place& place, const LibsndfileFunctions& library);

// Open a recording with libsndfile: a whole file by its descriptor, all else as a virtual file. Throws DecodeError if it cannot be opened, or has another format than `spec`
// says. `library` has to outlive the Source.
std::unique_ptr<Source> open_with_libsndfile(const SourceSpec& spec,
                                             const LibsndfileFunctions& library);

// The same of what `file` gives through `functions`; both have to outlive the Source.
std::unique_ptr<Source> open_with_libsndfile(const SourceSpec& spec, const LibsndfileFunctions& library,
                                             LibsndfileFunctions::VirtualFile* functions, void* file);

// The same of `bytes`, with some of them replaced.
std::unique_ptr<Source> open_with_libsndfile(const SourceSpec& spec, const LibsndfileFunctions& library,
                                             std::unique_ptr<Bytes> bytes, std::vector<Patch> patches);

// Throw CHANGED if the file at `spec.place` is whole, and has fewer bytes than it had at the scan: opening anything
// else as Bytes checks that.
void check_file_bytes(const SourceSpec& spec);

}  // namespace headrace
