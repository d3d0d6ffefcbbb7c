// Binds what has to do with FFmpeg: its functions, the walk over a file (not on Windows), and the index.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "python/bindings.h"
#include "python/text.h"
#include "python/without_gil.h"
#include "sources/decode_error.h"
#include "sources/ffmpeg_library.h"
#ifndef _WIN32
#include "sources/ffmpeg_source.h"
#include "sources/mp4_scan.h"
#include "sources/ogg_index.h"
#include "sources/ogg_source.h"
#endif
#include "sources/mp4_table.h"
#include "sources/packet_index.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace headrace {
namespace {

void make_functions(FfmpegFunctions* self, const nb::dict& addresses) {
  FfmpegFunctions functions{};
  set_functions(&functions, [&](const char* name) {
    const auto address = nb::cast<uintptr_t>(addresses[name]);
    if (!address) throw std::invalid_argument("the address of a function must not be 0");
    return address;
  });
  new (self) FfmpegFunctions(functions);
}

nb::tuple function_names() {
  nb::list names;
#define APPEND(name) names.append(#name);
  HEADRACE_FFMPEG_FUNCTIONS(APPEND)
#undef APPEND
  return nb::tuple(names);
}

void make_format(PyFfmpegFormat* self, nb::object functions, const std::string& demuxer,
                 const std::string& codec, bool byte_seek) {
  new (self) PyFfmpegFormat{{&nb::cast<const FfmpegFunctions&>(functions), demuxer, codec, byte_seek},
                            functions};
}

template <auto Member>
auto format_field(const PyFfmpegFormat& format) {
  return format.plain.*Member;
}

#ifndef _WIN32
// Run `work` without the GIL. Return what stopped it as (code, message), or None.
template <typename Work>
nb::object error_of(Work work) {
  std::string code, message;
  {
    const WithoutGil released;
    try {
      work();
    } catch (const DecodeError& error) {
      code = error.code;
      message = error.what();
    }
  }
  if (code.empty()) return nb::none();
  return nb::make_tuple(code, to_str(message));
}

// A FfmpegWalk whose errors are values.
class PyWalk {
 public:
  PyWalk(nb::object library, const PyPlace& place, const std::string& demuxer)
      : library_(std::move(library)) {
    const FfmpegFormat format{&nb::cast<const FfmpegFunctions&>(library_), demuxer, "", false};
    error = error_of([&] { walk = std::make_unique<FfmpegWalk>(place.plain, format); });
  }

  int64_t advance(int64_t frames) {
    int64_t got = 0;
    error = error_of([&] { got = walk->advance(frames); });
    return got;
  }

  void set_rules(double spacing_s, int64_t pre_roll, double pre_roll_s, bool forgets,
                 double long_spacing_s, int64_t long_pre_roll, double long_pre_roll_s) {
    if (!(spacing_s > 0) || !(long_spacing_s > 0) || pre_roll < 1 || long_pre_roll < 1)
      throw std::invalid_argument("spacing must be positive, and the pre-roll at least 1");
    error = error_of([&] {
      walk->set_rules({spacing_s, pre_roll, pre_roll_s, forgets},
                      {long_spacing_s, long_pre_roll, long_pre_roll_s, forgets});
    });
  }

  nb::object error;
  std::unique_ptr<FfmpegWalk> walk;

 private:
  nb::object library_;
};
#endif

#ifndef _WIN32
// Decode a recording that has an index of packets. Return its samples, or those up to where it fails.
nb::bytes decode_indexed(const PyFfmpegFormat& format, const PyPlace& place, int sample_rate, int channels,
                         int64_t frames, const nb::bytes& seek_points) {
  if (channels < 1 || frames < 0) throw std::invalid_argument("channels or frames are out of range");
  SourceSpec spec;
  spec.format.sample_rate = sample_rate;
  spec.format.channels = channels;
  spec.format.ffmpeg = format.plain;
  spec.place = place.plain;
  spec.frames = frames;
  spec.seek_points.assign(seek_points.c_str(), seek_points.size());
  std::vector<float> pcm(static_cast<size_t>(frames) * static_cast<size_t>(channels));
  int64_t got = 0;
  error_of([&] {
    const bool ogg = !spec.seek_points.empty() && spec.seek_points[0] == OggIndex::TAG;
    got = (ogg ? open_ogg(spec) : open_ffmpeg(spec))->read(pcm.data(), frames);
  });
  return nb::bytes(reinterpret_cast<const char*>(pcm.data()),
                   static_cast<size_t>(got * channels) * sizeof(float));
}
#endif

nb::bytes pack_index(const PacketIndex& index) {
  const std::string packed = pack(index);
  return nb::bytes(packed.data(), packed.size());
}

// Seconds between anchors, packets of a pre-roll, whether the codec forgets.
using PyRule = std::tuple<double, int64_t, bool>;

AnchorRule rule_of(const PyRule& rule) {
  const auto& [spacing_s, pre_roll, forgets] = rule;
  if (!(spacing_s > 0) || pre_roll < 1)
    throw std::invalid_argument("spacing must be positive, and the pre-roll at least 1");
  return {spacing_s, pre_roll, 0, forgets};
}

#ifndef _WIN32
nb::object scan_mp4_file(const FfmpegFunctions& library, const PyPlace& place, const PyRule& aac,
                         const PyRule& alac) {
  const AnchorRule aac_rule = rule_of(aac), alac_rule = rule_of(alac);
  std::optional<Mp4Scan> scan;
  const nb::object error = error_of([&] { scan = scan_mp4(place.plain, library, aac_rule, alac_rule); });
  if (!error.is_none()) return error;
  return scan ? nb::cast(std::move(*scan)) : nb::none();
}
#endif

nb::object index_listed_packets(const std::vector<std::tuple<int64_t, int32_t, bool>>& packets, int64_t skip,
                                int64_t packet_frames, int64_t last_frames, int sample_rate,
                                const nb::bytes& extradata, const PyRule& rule, const nb::bytes& moov,
                                int64_t moov_offset, int64_t file_size, int64_t decoder_major) {
  Mp4Track track{{}, skip, packet_frames, last_frames, sample_rate, {extradata.c_str(), extradata.size()}};
  for (const auto& [offset, size, dropped] : packets) track.packets.push_back({offset, size, dropped});
  auto index = index_mp4(track, rule_of(rule), moov.c_str(), moov_offset, static_cast<int64_t>(moov.size()), file_size);
  if (!index) return nb::none();
  index->decoder_major = decoder_major;
  return pack_index(*index);
}

}  // namespace

void bind_ffmpeg(nb::module_& m) {
  m.attr("FFMPEG_FUNCTIONS") = function_names();
  nb::class_<FfmpegFunctions>(m, "FfmpegFunctions")
      .def("__init__", &make_functions, "addresses"_a);
  nb::class_<PyFfmpegFormat>(m, "FfmpegFormat")
      .def("__init__", &make_format, nb::kw_only(), "functions"_a, "demuxer"_a, "codec"_a,
           "byte_seek"_a)
      .def_ro("functions", &PyFfmpegFormat::functions)
      .def_prop_ro("demuxer", &format_field<&FfmpegFormat::demuxer>)
      .def_prop_ro("codec", &format_field<&FfmpegFormat::codec>)
      .def_prop_ro("byte_seek", &format_field<&FfmpegFormat::byte_seek>);
#ifndef _WIN32
  m.def("decode_indexed", &decode_indexed, "format"_a, nb::kw_only(), "place"_a, "sample_rate"_a,
        "channels"_a, "frames"_a, "seek_points"_a);
  nb::class_<PyWalk>(m, "FfmpegWalk")
      .def(nb::init<nb::object, const PyPlace&, const std::string&>(), "library"_a, nb::kw_only(),
           "place"_a, "demuxer"_a)
      .def("set_rules", &PyWalk::set_rules, nb::kw_only(), "spacing_s"_a, "pre_roll"_a, "pre_roll_s"_a,
           "forgets"_a, "long_spacing_s"_a, "long_pre_roll"_a, "long_pre_roll_s"_a)
      .def("advance", &PyWalk::advance, "frames"_a)
      .def_ro("error", &PyWalk::error)
      .def_prop_ro("codec", [](const PyWalk& self) { return self.walk->codec(); })
      .def_prop_ro("sample_rate", [](const PyWalk& self) { return self.walk->sample_rate(); })
      .def_prop_ro("channels", [](const PyWalk& self) { return self.walk->channels(); })
      .def_prop_ro("frames", [](const PyWalk& self) { return self.walk->frames(); })
      .def_prop_ro("complaint", [](const PyWalk& self) { return to_str(self.walk->complaint()); })
      .def_prop_ro("packed_index", [](const PyWalk& self) { return pack_index(self.walk->index()); });
#endif
  nb::class_<Anchor>(m, "Anchor")
      .def(
          "__init__",
          [](Anchor* self, int64_t start, int64_t packets, int64_t offset, int64_t ordinal, int64_t time,
             uint16_t check) { new (self) Anchor{start, packets, {offset, ordinal, time, check, 0}, 0}; },
          nb::kw_only(), "start"_a, "packets"_a, "offset"_a, "ordinal"_a, "time"_a, "check"_a)
      .def_ro("start", &Anchor::start)
      .def_ro("packets", &Anchor::packets)
      .def_prop_ro("offset", [](const Anchor& self) { return self.place.offset; })
      .def_prop_ro("ordinal", [](const Anchor& self) { return self.place.ordinal; })
      .def_prop_ro("time", [](const Anchor& self) { return self.place.time; })
      .def_prop_ro("check", [](const Anchor& self) { return self.place.check; });
  nb::class_<PacketIndex>(m, "PacketIndex")
      .def(
          "__init__",
          [](PacketIndex* self, int64_t decoder_major, int64_t pre_roll, bool forgets, int64_t frames,
             const std::vector<Anchor>& anchors, bool continuous) {
            new (self) PacketIndex{decoder_major, pre_roll, forgets, frames, anchors, continuous, std::nullopt, std::nullopt};
          },
          nb::kw_only(), "decoder_major"_a, "pre_roll"_a, "forgets"_a, "frames"_a, "anchors"_a,
          "continuous"_a = false)
      .def_ro("decoder_major", &PacketIndex::decoder_major)
      .def_ro("pre_roll", &PacketIndex::pre_roll)
      .def_ro("forgets", &PacketIndex::forgets)
      .def_ro("frames", &PacketIndex::frames)
      .def_ro("anchors", &PacketIndex::anchors)
      .def_ro("continuous", &PacketIndex::continuous)
      .def_prop_ro("has_table", [](const PacketIndex& self) { return self.table.has_value(); })
      .def_prop_ro("has_layout", [](const PacketIndex& self) { return self.layout.has_value(); })
      .def("pack", &pack_index);
  m.def("index_mp4", &index_listed_packets, nb::kw_only(), "packets"_a, "skip"_a, "packet_frames"_a,
        "last_frames"_a, "sample_rate"_a, "extradata"_a, "rule"_a, "moov"_a, "moov_offset"_a, "file_size"_a,
        "decoder_major"_a);
  m.def("read_aac_config", [](const nb::bytes& extradata) -> std::optional<std::tuple<int, int, bool>> {
    const auto config = read_aac_config({extradata.c_str(), extradata.size()});
    if (!config) return std::nullopt;
    return std::make_tuple(config->sample_rate, config->channels, config->no_sbr);
  });
  m.def("read_alac_config", [](const nb::bytes& extradata) -> std::optional<std::tuple<int, int, int64_t>> {
    const auto config = read_alac_config({extradata.c_str(), extradata.size()});
    if (!config) return std::nullopt;
    return std::make_tuple(config->sample_rate, config->channels, config->packet_frames);
  });
#ifndef _WIN32
  m.def("scan_mp4", &scan_mp4_file, "library"_a, nb::kw_only(), "place"_a, "aac"_a, "alac"_a);
  nb::class_<Mp4Scan>(m, "Mp4Scan")
      .def_ro("codec", &Mp4Scan::codec)
      .def_ro("sample_rate", &Mp4Scan::sample_rate)
      .def_ro("channels", &Mp4Scan::channels)
      .def_prop_ro("frames", [](const Mp4Scan& self) { return self.index.frames; })
      .def_prop_ro("packed_index", [](const Mp4Scan& self) { return pack_index(self.index); });
#endif
  m.def("unpack_packet_index", [](const nb::bytes& packed) -> nb::object {
    PacketIndex index;
    if (!unpack(packed.c_str(), packed.size(), &index)) return nb::none();
    return nb::cast(index);
  });
  m.def("packet_check", [](const nb::bytes& packet) {
    return packet_check(reinterpret_cast<const unsigned char*>(packet.c_str()),
                        static_cast<int64_t>(packet.size()));
  });
}

}  // namespace headrace
