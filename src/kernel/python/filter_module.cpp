// Binds Filter, its stages and the instruction sets.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "arithmetic/filter.h"
#include "arithmetic/float_mode.h"
#include "arithmetic/instruction_sets.h"
#include "arithmetic/resample.h"
#include "python/bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace headrace {
namespace {

template <typename T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename T>
using View = nb::ndarray<nb::numpy, const T, nb::ndim<1>>;

void make_stage(FilterStage* self, Vector<const float> coefficients, Vector<const int64_t> first,
                int64_t up, int64_t down, int64_t reach, int64_t phases) {
  new (self) FilterStage{{coefficients.data(), coefficients.data() + coefficients.size()},
                         {first.data(), first.data() + first.size()},
                         up, down, reach, phases};
}

void make_filter(Filter* self, const std::vector<const FilterStage*>& stages) {
  std::vector<FilterStage> copies;
  for (const FilterStage* stage : stages) {
    if (!stage) throw std::invalid_argument("a stage must not be None");
    copies.push_back(*stage);
  }
  new (self) Filter(std::move(copies));
}

void check_outputs(const Filter& filter, int64_t start, int64_t stop) {
  if (start < -filter.furthest() || stop > filter.furthest() || start > stop)
    throw std::invalid_argument("outputs are further away than any recording reaches");
}

std::pair<int64_t, int64_t> support(const Filter& filter, int64_t start, int64_t stop) {
  check_outputs(filter, start, stop);
  const Span inputs = filter.support(start, stop);
  return {inputs.begin, inputs.end};
}

std::pair<int64_t, int64_t> span(const Filter& filter, int64_t start, int64_t stop) {
  check_outputs(filter, start, stop);
  const Span inputs = filter.span(start, stop);
  return {inputs.begin, inputs.end};
}

int64_t scratch(const Filter& filter, int64_t outputs) {
  check_outputs(filter, 0, outputs);
  return filter.scratch(outputs);
}

void apply(const Filter& filter, Vector<const float> x, int64_t x_start, Vector<float> y,
           int64_t y_start, const std::string& instruction_set) {
  const InstructionSet& set = find_instruction_set(instruction_set);
  const int64_t outputs = static_cast<int64_t>(y.size());
  if (outputs == 0) return;
  if (y_start > filter.furthest()) check_outputs(filter, 0, y_start);  // or the sum might overflow
  const int64_t y_stop = y_start + outputs;
  check_outputs(filter, y_start, y_stop);
  const Span inputs = filter.span(y_start, y_stop);
  const int64_t held = static_cast<int64_t>(x.size());
  if (inputs.begin < x_start || inputs.end - inputs.begin > held || inputs.end - held > x_start)
    throw std::invalid_argument("x does not hold the inputs that these outputs need");
  nb::gil_scoped_release release;
  std::vector<float> scratch(static_cast<size_t>(filter.scratch(outputs)));
  const DefaultFloatMode mode;
  filter.apply(set.resample, x.data(), x_start, y.data(), y_start, y_stop, scratch.data());
}

std::vector<std::string> instruction_set_names() {
  std::vector<std::string> names;
  for (const InstructionSet& set : instruction_sets()) names.push_back(set.name);
  return names;
}

}  // namespace

void bind_filter(nb::module_& m) {
  m.attr("LANES") = LANES;
  m.attr("MOST_TAPS") = MOST_TAPS;
  m.def("instruction_sets", &instruction_set_names);
  nb::class_<FilterStage>(m, "FilterStage")
      .def("__init__", &make_stage, nb::kw_only(), "coefficients"_a.noconvert(),
           "first"_a.noconvert(), "up"_a, "down"_a, "reach"_a, "phases"_a = 0)
      .def_prop_ro(
          "coefficients",
          [](const FilterStage& s) { return View<float>(s.coefficients.data(), {s.coefficients.size()}); },
          nb::rv_policy::reference_internal)
      .def_prop_ro(
          "first", [](const FilterStage& s) { return View<int64_t>(s.first.data(), {s.first.size()}); },
          nb::rv_policy::reference_internal)
      .def_ro("up", &FilterStage::up)
      .def_ro("down", &FilterStage::down)
      .def_ro("reach", &FilterStage::reach)
      .def_ro("phases", &FilterStage::phases);
  nb::class_<Filter>(m, "Filter")
      .def("__init__", &make_filter, "stages"_a)
      .def_prop_ro("identity", &Filter::identity)
      .def_prop_ro("nbytes", &Filter::nbytes)
      .def("support", &support, "start"_a, "stop"_a)
      .def("span", &span, "start"_a, "stop"_a)
      .def("scratch", &scratch, "outputs"_a)
      .def("apply", &apply, "x"_a.noconvert(), "x_start"_a, "y"_a.noconvert(), "y_start"_a,
           "instruction_set"_a = "");
}

}  // namespace headrace
