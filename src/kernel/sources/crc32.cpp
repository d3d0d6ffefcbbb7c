#include "sources/crc32.h"

#include <array>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
#define HEADRACE_CARRYLESS
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>

#include <cstring>
#endif

namespace headrace {
namespace {

constexpr uint32_t POLYNOMIAL = 0xEDB88320;

constexpr uint32_t times_x(uint32_t value) { return value >> 1 ^ (value & 1 ? POLYNOMIAL : 0); }

// Table k: what a byte changes in the remainder when k more bytes have followed it.
constexpr std::array<std::array<uint32_t, 256>, 8> make_tables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = times_x(value);
    tables[0][byte] = value;
  }
  for (size_t k = 1; k < 8; ++k)
    for (size_t byte = 0; byte < 256; ++byte)
      tables[k][byte] = tables[k - 1][byte] >> 8 ^ tables[0][tables[k - 1][byte] & 0xff];
  return tables;
}

constexpr auto TABLES = make_tables();

// The remainder of `rest` and these bytes behind it.
uint32_t divide(uint32_t rest, const unsigned char* p, size_t count) {
  for (; count >= 8; count -= 8, p += 8) {
    rest ^= p[0] | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 | uint32_t{p[3]} << 24;
    rest = TABLES[7][rest & 0xff] ^ TABLES[6][rest >> 8 & 0xff] ^ TABLES[5][rest >> 16 & 0xff] ^
           TABLES[4][rest >> 24] ^ TABLES[3][p[4]] ^ TABLES[2][p[5]] ^ TABLES[1][p[6]] ^ TABLES[0][p[7]];
  }
  for (; count > 0; --count, ++p) rest = rest >> 8 ^ TABLES[0][(rest ^ *p) & 0xff];
  return rest;
}

#ifdef HEADRACE_CARRYLESS

// x^n modulo the polynomial, as a factor of a carry-less product of reflected numbers.
constexpr long long power_of_x(int n) {
  uint32_t value = 0x80000000;
  for (int i = 0; i < n; ++i) value = times_x(value);
  return static_cast<long long>(uint64_t{value} << 1);
}

__attribute__((target("pclmul,sse4.1"))) inline __m128i load(const unsigned char* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

// `sum` moved on by as many bits as `factors` are for, plus `next`.
__attribute__((target("pclmul,sse4.1"))) inline __m128i fold(__m128i sum, __m128i factors, __m128i next) {
  const __m128i low = _mm_clmulepi64_si128(sum, factors, 0x00);
  const __m128i high = _mm_clmulepi64_si128(sum, factors, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

// As `divide`, for at least 64 bytes: 64 at a time are folded into four sums of 128 bits, and these into one.
__attribute__((target("pclmul,sse4.1"))) uint32_t divide_carryless(uint32_t rest, const unsigned char* p,
                                                                   size_t count) {
  constexpr long long FAR_LOW = power_of_x(512 + 32), FAR_HIGH = power_of_x(512 - 32);
  constexpr long long NEAR_LOW = power_of_x(128 + 32), NEAR_HIGH = power_of_x(128 - 32);
  __m128i sums[4] = {load(p), load(p + 16), load(p + 32), load(p + 48)};
  sums[0] = _mm_xor_si128(sums[0], _mm_cvtsi32_si128(static_cast<int>(rest)));
  p += 64, count -= 64;
  const __m128i far = _mm_set_epi64x(FAR_HIGH, FAR_LOW);
  for (; count >= 64; count -= 64, p += 64)
    for (int i = 0; i < 4; ++i) sums[i] = fold(sums[i], far, load(p + 16 * i));
  const __m128i near = _mm_set_epi64x(NEAR_HIGH, NEAR_LOW);
  __m128i sum = sums[0];
  for (int i = 1; i < 4; ++i) sum = fold(sum, near, sums[i]);
  unsigned char bytes[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), sum);
  return divide(divide(0, bytes, sizeof bytes), p, count);
}

bool has_carryless() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}

#endif

}  // namespace

uint32_t crc32_portable(const void* data, size_t count, uint32_t checksum) {
  return ~divide(~checksum, static_cast<const unsigned char*>(data), count);
}

uint32_t crc32(const void* data, size_t count, uint32_t checksum) {
#if defined(HEADRACE_CARRYLESS)
  static const bool carryless = has_carryless();
  if (carryless && count >= 64)
    return ~divide_carryless(~checksum, static_cast<const unsigned char*>(data), count);
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
  const unsigned char* p = static_cast<const unsigned char*>(data);
  uint32_t rest = ~checksum;
  for (; count >= 8; count -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, sizeof word);
    rest = __crc32d(rest, word);
  }
  return ~divide(rest, p, count);
#endif
  return crc32_portable(data, count, checksum);
}

}  // namespace headrace
