#include "sources/probe_header.h"

#include <cstring>
#include <utility>

#include "sources/flac_file.h"
#include "sources/flac_source.h"
#include "sources/wav_layout.h"

namespace headrace {
namespace {

constexpr const char* WAV_SUBTYPES[] = {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"};
constexpr const char* FLAC_SUBTYPES[] = {"PCM_S8", "PCM_16", "PCM_24"};

bool probe_wav(const Bytes& bytes, AudioHeader* header) {
  WavLayout layout;
  if (!parse_wav(bytes, &layout)) return false;
  *header = {layout.rf64 ? "RF64" : layout.extensible ? "WAVEX" : "WAV",
             WAV_SUBTYPES[static_cast<int>(layout.encoding)],
             layout.sample_rate,
             layout.channels,
             layout.frames,
             layout.agrees,
             ""};
  return true;
}

bool probe_flac(std::unique_ptr<Bytes> bytes, AudioHeader* header, bool believe) {
  const auto file = believe ? FlacFile::believe(std::move(bytes)) : FlacFile::measure(std::move(bytes));
  if (!file) return false;
  const FlacStream& stream = file->stream();
  const bool agrees = file->declared() == 0 || file->frames() == file->declared();
  *header = {"FLAC",
             FLAC_SUBTYPES[stream.bits / 8 - 1],
             stream.sample_rate,
             stream.channels,
             file->frames(),
             agrees && file->end() == 0,
             file->end() > 0 ? pack_flac_end(file->end()) : ""};
  return true;
}

}  // namespace

bool probe_header(std::unique_ptr<Bytes> bytes, AudioHeader* header, bool believe_flac) {
  char begin[4];
  if (bytes->read(0, begin, 4) != 4) return false;
  if (std::memcmp(begin, "fLaC", 4) == 0) return probe_flac(std::move(bytes), header, believe_flac);
  return probe_wav(*bytes, header);
}

}  // namespace headrace
