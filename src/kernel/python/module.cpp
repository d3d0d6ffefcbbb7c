// The Python face of the kernel: checks every size, lets go of the GIL, calls.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#if defined(HEADRACE_X86_SETS) && defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#endif

#include "arithmetic/filter.h"
#include "python/bindings.h"
#include "arithmetic/float_mode.h"
#include "arithmetic/resample.h"

namespace nb = nanobind;
using headrace::Filter;
using headrace::LANES;

namespace {

template <typename T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

struct InstructionSet {
  std::string name;
  headrace::ResampleFn resample;
};

#ifdef HEADRACE_X86_SETS
struct X86 {
  bool avx2, avx512;
};

// What cpuid says of the processor, and xgetbv of the registers that the operating system keeps.
X86 x86() {
#ifdef _MSC_VER
  const auto bits = [](uint64_t word, uint64_t mask) { return (word & mask) == mask; };
  int leaf[4];  // eax, ebx, ecx, edx
  __cpuidex(leaf, 0, 0);
  if (leaf[0] < 7) return {false, false};
  __cpuidex(leaf, 1, 0);
  // FMA, OSXSAVE and AVX; without the second there is no xgetbv.
  if (!bits(leaf[2], 1u << 12 | 1u << 27 | 1u << 28)) return {false, false};
  const uint64_t kept = _xgetbv(0);
  __cpuidex(leaf, 7, 0);
  const uint64_t has = static_cast<uint32_t>(leaf[1]);
  // xmm and ymm registers; for AVX-512 also masks, the upper halves of zmm, and zmm16 to zmm31.
  const bool avx2 = bits(kept, 0x06) && bits(has, 1u << 5);
  const bool avx512 =
      avx2 && bits(kept, 0xe6) && bits(has, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31);  // F DQ BW VL
  return {avx2, avx512};
#else
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw");
  return {avx2, avx512};
#endif
}
#endif

// Best first.
std::vector<InstructionSet> detect() {
  std::vector<InstructionSet> sets;
#ifdef HEADRACE_X86_SETS
  const X86 machine = x86();
  if (machine.avx512) sets.push_back({"avx512", headrace::avx512::resample});
  if (machine.avx2) sets.push_back({"avx2", headrace::avx2::resample});
#endif
  sets.push_back({"portable", headrace::portable::resample});
  return sets;
}

const std::vector<InstructionSet>& instruction_sets() {
  static const std::vector<InstructionSet> sets = detect();
  return sets;
}

const InstructionSet& instruction_set_of(const std::string& name) {
  for (const InstructionSet& set : instruction_sets())
    if (name.empty() || set.name == name) return set;
  throw std::invalid_argument("this machine has no instruction set " + name);
}

using StageParts =
    std::tuple<Vector<const float>, Vector<const int64_t>, int64_t, int64_t, int64_t, int64_t>;

void make_filter(Filter* self, const std::vector<StageParts>& stages) {
  std::vector<headrace::Stage> made;
  for (const auto& [coefficients, first, up, down, reach, phases] : stages)
    made.push_back({{coefficients.data(), coefficients.data() + coefficients.size()},
                    {first.data(), first.data() + first.size()},
                    up, down, reach, phases});
  new (self) Filter(std::move(made));
}

void check_outputs(const Filter& filter, int64_t start, int64_t stop) {
  if (start < -filter.furthest() || stop > filter.furthest() || start > stop)
    throw std::invalid_argument("outputs are further away than any recording reaches");
}

std::pair<int64_t, int64_t> support(const Filter& filter, int64_t start, int64_t stop) {
  check_outputs(filter, start, stop);
  const headrace::Span inputs = filter.support(start, stop);
  return {inputs.begin, inputs.end};
}

std::pair<int64_t, int64_t> span(const Filter& filter, int64_t start, int64_t stop) {
  check_outputs(filter, start, stop);
  const headrace::Span inputs = filter.span(start, stop);
  return {inputs.begin, inputs.end};
}

int64_t scratch(const Filter& filter, int64_t outputs) {
  check_outputs(filter, 0, outputs);
  return filter.scratch(outputs);
}

void apply(const Filter& filter, Vector<const float> x, int64_t x_start, Vector<float> y,
           int64_t y_start, const std::string& instruction_set) {
  const InstructionSet& set = instruction_set_of(instruction_set);
  const int64_t outputs = static_cast<int64_t>(y.size());
  if (outputs == 0) return;
  if (y_start > filter.furthest()) check_outputs(filter, 0, y_start);  // or the sum might overflow
  const int64_t y_stop = y_start + outputs;
  check_outputs(filter, y_start, y_stop);
  const headrace::Span inputs = filter.span(y_start, y_stop);
  const int64_t held = static_cast<int64_t>(x.size());
  if (inputs.begin < x_start || inputs.end - inputs.begin > held ||
      inputs.end - held > x_start)
    throw std::invalid_argument("x does not hold the inputs that these outputs need");
  nb::gil_scoped_release release;
  std::vector<float> scratch(static_cast<size_t>(filter.scratch(outputs)));
  const headrace::DefaultFloatMode mode;
  filter.apply(set.resample, x.data(), x_start, y.data(), y_start, y_stop, scratch.data());
}

template <typename Sample>
bool convert(Vector<const Sample> pcm, int channels, int channel, Vector<float> out) {
  if (channels < 1 || channel < headrace::MIX || channel >= channels)
    throw std::invalid_argument("no such channel");
  if (pcm.size() != out.size() * static_cast<size_t>(channels))
    throw std::invalid_argument("pcm holds frames x channels samples, out holds frames");
  nb::gil_scoped_release release;
  const headrace::DefaultFloatMode mode;
  return headrace::convert(pcm.data(), static_cast<int64_t>(out.size()), channels, channel,
                           out.data());
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const InstructionSet& set : instruction_sets()) all.push_back(set.name);
  return all;
}

}  // namespace

namespace headrace {

ResampleFn find_instruction_set(const std::string& name) { return instruction_set_of(name).resample; }

}  // namespace headrace

NB_MODULE(_kernel, m) {
  // At the interpreter's exit, a read that was given up may still hold what it was called with.
  nb::set_leak_warnings(false);
  using namespace nb::literals;
  m.attr("LANES") = LANES;
  m.attr("MOST_TAPS") = headrace::MOST_TAPS;
  m.attr("MIX") = headrace::MIX;
  m.def("instruction_sets", &names);
  nb::class_<Filter>(m, "Filter")
      .def("__init__", &make_filter, "stages"_a.noconvert())
      .def_prop_ro("identity", &Filter::identity)
      .def_prop_ro("nbytes", &Filter::nbytes)
      .def("support", &support, "start"_a, "stop"_a)
      .def("span", &span, "start"_a, "stop"_a)
      .def("scratch", &scratch, "outputs"_a)
      .def("apply", &apply, "x"_a.noconvert(), "x_start"_a, "y"_a.noconvert(), "y_start"_a,
           "instruction_set"_a = "");
  m.def("convert", &convert<int16_t>, "pcm"_a.noconvert(), "channels"_a, "channel"_a,
        "out"_a.noconvert());
  m.def("convert", &convert<int32_t>, "pcm"_a.noconvert(), "channels"_a, "channel"_a,
        "out"_a.noconvert());
  m.def("convert", &convert<float>, "pcm"_a.noconvert(), "channels"_a, "channel"_a,
        "out"_a.noconvert());
  m.def("convert", &convert<double>, "pcm"_a.noconvert(), "channels"_a, "channel"_a,
        "out"_a.noconvert());
  headrace::bind_reader(m);
}
