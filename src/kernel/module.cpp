// The Python face of the kernel: checks every size, lets go of the GIL, calls.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "float_mode.h"
#include "kernel.h"

namespace nb = nanobind;
using headrace::Bank;
using headrace::LANES;

namespace {

template <typename T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

struct InstructionSet {
  std::string name;
  headrace::ResampleFn resample;
};

// Best first. The compiler's feature test asks cpuid for the instructions and xgetbv for whether the
// operating system keeps the registers.
std::vector<InstructionSet> detect() {
  std::vector<InstructionSet> sets;
#ifdef HEADRACE_X86_SETS
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
    sets.push_back({"avx512", headrace::avx512::resample});
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    sets.push_back({"avx2", headrace::avx2::resample});
#endif
  sets.push_back({"portable", headrace::portable::resample});
  return sets;
}

const std::vector<InstructionSet>& instruction_sets() {
  static const std::vector<InstructionSet> sets = detect();
  return sets;
}

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// Positions beyond this are refused, so that sums of two cannot overflow: 2^60 samples are years of
// audio at any rate.
constexpr int64_t FURTHEST = int64_t{1} << 60;
bool too_far(int64_t position) { return position < -FURTHEST || position > FURTHEST; }

void resample(Vector<const float> coefficients, Vector<const int64_t> first, int64_t block_in,
              int64_t block_out, Vector<const float> x, int64_t x_start, Vector<float> y,
              int64_t y_start, const std::string& instruction_set) {
  const int64_t groups = static_cast<int64_t>(first.size());
  if (groups < 1 || block_in < 1 || too_far(block_in) || block_out != groups * LANES ||
      coefficients.size() % (static_cast<size_t>(groups) * LANES) != 0)
    throw std::invalid_argument("coefficients, first and block_out do not fit each other");
  // A group never starts before the one it follows, within a block and from block to block. So the
  // first and the last group of a call hold the extremes of what it reads.
  for (int64_t g = 0; g < groups; ++g)
    if (too_far(first.data()[g]) || (g > 0 && first.data()[g] < first.data()[g - 1]))
      throw std::invalid_argument("first must rise");
  if (first.data()[groups - 1] - first.data()[0] > block_in)
    throw std::invalid_argument("first must rise from block to block");
  const Bank bank{coefficients.data(), first.data(),
                  groups, static_cast<int64_t>(coefficients.size()) / (groups * LANES),
                  block_in, block_out};
  const int64_t outputs = static_cast<int64_t>(y.size());
  if (outputs == 0) return;
  if (too_far(x_start) || too_far(y_start) ||
      floor_div(y_start, block_out) < -(FURTHEST / block_in) ||
      floor_div(y_start + outputs, block_out) > FURTHEST / block_in)
    throw std::invalid_argument("x_start or y_start is further than any recording reaches");
  const int64_t y_stop = y_start + outputs;
  const auto at = [&](int64_t m) {
    const int64_t block = floor_div(m, block_out);
    return block * block_in + bank.first[(m - block * block_out) / LANES];
  };
  if (at(y_start) < x_start ||
      at(y_stop - 1) + bank.span > x_start + static_cast<int64_t>(x.size()))
    throw std::invalid_argument("x does not hold the inputs that these outputs need");
  for (const InstructionSet& set : instruction_sets()) {
    if (!instruction_set.empty() && set.name != instruction_set) continue;
    nb::gil_scoped_release release;
    const headrace::DefaultFloatMode mode;
    set.resample(bank, x.data(), x_start, y.data(), y_start, y_stop);
    return;
  }
  throw std::invalid_argument("this machine has no instruction set " + instruction_set);
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

NB_MODULE(_kernel, m) {
  using namespace nb::literals;
  m.attr("LANES") = LANES;
  m.attr("MIX") = headrace::MIX;
  m.def("instruction_sets", &names);
  m.def("resample", &resample, "coefficients"_a.noconvert(), "first"_a.noconvert(), "block_in"_a,
        "block_out"_a, "x"_a.noconvert(), "x_start"_a, "y"_a.noconvert(), "y_start"_a,
        "instruction_set"_a = "");
  m.def("convert", &convert<int16_t>, "pcm"_a.noconvert(), "channels"_a, "channel"_a,
        "out"_a.noconvert());
  m.def("convert", &convert<int32_t>, "pcm"_a.noconvert(), "channels"_a, "channel"_a,
        "out"_a.noconvert());
  m.def("convert", &convert<float>, "pcm"_a.noconvert(), "channels"_a, "channel"_a,
        "out"_a.noconvert());
  m.def("convert", &convert<double>, "pcm"_a.noconvert(), "channels"_a, "channel"_a,
        "out"_a.noconvert());
}
