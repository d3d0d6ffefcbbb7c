#include "sources/open_source.h"

#ifndef _WIN32
#include "sources/ffmpeg_source.h"
#include "sources/flac_source.h"
#include "sources/mp3_source.h"
#include "sources/repaired.h"
#include "sources/wav_source.h"
#endif

namespace headrace {
std::unique_ptr<Source> open_source(const SourceSpec& spec, const LibsndfileFunctions& library) {
  const SourceFormat& format = spec.format;
#ifndef _WIN32
  if (has_packet_index(spec) && format.ffmpeg.library) {
    check_file_bytes(spec);
    return open_ffmpeg(spec);
  }
#endif
  if (format.opener) {
    check_file_bytes(spec);
    return format.opener(spec);
  }
#ifndef _WIN32
  if (format.wav_encoding)
    if (auto source = open_wav(spec)) return source;
  const bool flac = (format.sndfile_format & CONTAINER_MASK) == FLAC_CONTAINER;
  if (flac)
    if (auto source = open_flac(spec, library)) return source;
  if (!flac && !spec.seek_points.empty())
    if (auto source = open_mp3(spec, library)) return source;
  if (auto source = open_repaired(spec, library)) return source;
#endif
  return open_with_libsndfile(spec, library);
}

}  // namespace headrace
