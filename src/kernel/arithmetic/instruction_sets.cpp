#include "arithmetic/instruction_sets.h"

#include <cstdint>
#include <stdexcept>

#if defined(HEADRACE_X86_SETS) && defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace headrace {
namespace {

#ifdef HEADRACE_X86_SETS
struct X86Features {
  bool avx2, avx512;
};

// What the processor has (cpuid) and what the operating system saves on a context switch (xgetbv).
X86Features x86_features() {
#ifdef _MSC_VER
  const auto has_all = [](uint64_t word, uint64_t mask) { return (word & mask) == mask; };
  int leaf[4];  // eax, ebx, ecx, edx
  __cpuidex(leaf, 0, 0);
  if (leaf[0] < 7) return {false, false};
  __cpuidex(leaf, 1, 0);
  // FMA, OSXSAVE and AVX. Without OSXSAVE there is no xgetbv.
  if (!has_all(leaf[2], 1u << 12 | 1u << 27 | 1u << 28)) return {false, false};
  const uint64_t saved = _xgetbv(0);
  __cpuidex(leaf, 7, 0);
  const uint64_t features = static_cast<uint32_t>(leaf[1]);
  // xmm and ymm registers; for AVX-512 also masks, the upper halves of zmm, and zmm16 to zmm31.
  const bool avx2 = has_all(saved, 0x06) && has_all(features, 1u << 5);
  const bool avx512 = avx2 && has_all(saved, 0xe6) &&
                      has_all(features, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31);  // F DQ BW VL
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

std::vector<InstructionSet> detect() {
  std::vector<InstructionSet> sets;
#ifdef HEADRACE_X86_SETS
  const X86Features features = x86_features();
  if (features.avx512) sets.push_back({"avx512", avx512::resample});
  if (features.avx2) sets.push_back({"avx2", avx2::resample});
#endif
  sets.push_back({"portable", portable::resample});
  return sets;
}

}  // namespace

const std::vector<InstructionSet>& instruction_sets() {
  static const std::vector<InstructionSet> sets = detect();
  return sets;
}

const InstructionSet& find_instruction_set(const std::string& name) {
  for (const InstructionSet& set : instruction_sets())
    if (name.empty() || set.name == name) return set;
  throw std::invalid_argument("this machine has no instruction set " + name);
}

}  // namespace headrace
