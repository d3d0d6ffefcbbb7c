#include "sources/flac_frame.h"

#include <array>

#include "sources/flac_bits.h"

namespace headrace {
namespace {

constexpr int MOST_ORDER = 32;

// Tables of the two checksums. CRC16[k] is of a byte that is followed by k zero bytes, so that AT_ONCE bytes
// are added in one step.
constexpr unsigned AT_ONCE = 16;
constexpr std::array<uint8_t, 256> crc8_table() {
  std::array<uint8_t, 256> table{};
  for (unsigned i = 0; i < 256; ++i) {
    unsigned crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc << 1 ^ (crc & 0x80 ? 0x107 : 0);
    table[i] = static_cast<uint8_t>(crc);
  }
  return table;
}
constexpr std::array<std::array<uint16_t, 256>, AT_ONCE> crc16_tables() {
  std::array<std::array<uint16_t, 256>, AT_ONCE> tables{};
  for (unsigned i = 0; i < 256; ++i) {
    unsigned crc = i << 8;
    for (int bit = 0; bit < 8; ++bit) crc = crc << 1 ^ (crc & 0x8000 ? 0x18005 : 0);
    tables[0][i] = static_cast<uint16_t>(crc);
  }
  for (unsigned k = 1; k < AT_ONCE; ++k)
    for (unsigned i = 0; i < 256; ++i) {
      const unsigned crc = tables[k - 1][i];
      tables[k][i] = static_cast<uint16_t>(crc << 8 ^ tables[0][crc >> 8]);
    }
  return tables;
}
constexpr auto CRC8 = crc8_table();
constexpr auto CRC16 = crc16_tables();

uint8_t crc8(const unsigned char* p, int64_t count) {
  uint8_t crc = 0;
  for (int64_t i = 0; i < count; ++i) crc = CRC8[crc ^ p[i]];
  return crc;
}

uint16_t crc16(const unsigned char* p, int64_t count) {
  unsigned crc = 0;
  for (; count >= AT_ONCE; p += AT_ONCE, count -= AT_ONCE) {
    unsigned sum = CRC16[AT_ONCE - 1][(crc >> 8) ^ p[0]] ^ CRC16[AT_ONCE - 2][(crc & 0xFF) ^ p[1]];
    for (unsigned i = 2; i < AT_ONCE; ++i) sum ^= CRC16[AT_ONCE - 1 - i][p[i]];
    crc = sum;
  }
  for (; count > 0; ++p, --count) crc = (crc << 8 & 0xFFFF) ^ CRC16[0][(crc >> 8) ^ *p];
  return static_cast<uint16_t>(crc);
}

// Read the number of a frame or sample, coded like a UTF-8 character of up to 36 bits. Return its length in
// bytes, or 0 if it is none.
int parse_number(const unsigned char* p, int64_t count, int64_t* number) {
  if (count < 1) return 0;
  int bytes = 1;
  if (p[0] & 0x80) {
    bytes = 0;
    while (bytes < 8 && p[0] & (0x80 >> bytes)) ++bytes;
    if (bytes < 2 || bytes > 7 || count < bytes) return 0;
  }
  int64_t value = bytes == 1 ? p[0] : p[0] & (0x7F >> bytes);
  for (int i = 1; i < bytes; ++i) {
    if ((p[i] & 0xC0) != 0x80) return 0;
    value = value << 6 | (p[i] & 0x3F);
  }
  *number = value;
  return bytes;
}

// Linear prediction: a sample is its residual plus what the samples before it predict.
//
// In 64 bits a sum cannot overflow as long as samples fit their bits: a residual has 32 bits, a sample 25, a
// coefficient 15, and they are shifted by at most 15. If a sample does not fit, the frame is rejected.
struct Predictor {
  int order;
  int shift;
  uint64_t half;  // half the range of a sample
  uint64_t seen;  // the bits of all (sample + half), combined with or: shows whether one was out of range
  uint64_t last, last_but_one;
  uint64_t coefficient[MOST_ORDER];  // coefficients of the last sample, the one before it, ...

  // The last two samples are kept in registers: reading them back from memory would take longer.
  template <int ORDER>
  void begin(const int32_t* at) {
    last = ORDER != 0 ? static_cast<uint64_t>(at[-1]) : 0;
    last_but_one = order > 1 ? static_cast<uint64_t>(at[-2]) : 0;
  }

  template <int ORDER>
  void put(int32_t* at, int32_t residual) {
    uint64_t sum = static_cast<uint64_t>(residual) << shift;
    for (int j = (ORDER < 0 ? order : ORDER) - 1; j >= 2; --j)
      sum += coefficient[j] * static_cast<uint64_t>(at[-1 - j]);
    if (ORDER > 1 || ORDER < 0) sum += coefficient[1] * last_but_one;
    if (ORDER != 0) sum += coefficient[0] * last;
    last_but_one = last;
    last = static_cast<uint64_t>(static_cast<int64_t>(sum) >> shift);
    seen |= last + half;
    *at = static_cast<int32_t>(last);
  }
};

// 0, 1, 2, 3, ... -> 0, -1, 1, -2, ...
int32_t unfold(uint64_t code) {
  const uint32_t sign = 0u - static_cast<uint32_t>(code & 1);
  return static_cast<int32_t>(static_cast<uint32_t>(code >> 1) ^ sign);
}

template <int ORDER>
void put_one_coded(Bits& bits, Predictor& predictor, int32_t* at, int k) {
  const uint64_t high = bits.take_unary(1u << (31 - k));  // the code stays below 2^31
  predictor.put<ORDER>(at, unfold(high << k | bits.take(k)));
}

// Decode a partition of Rice codes: the code divided by 2^k in unary, then k bits. GROUP codes are taken
// from one refill of the register if they fit. They are below 2^31, because k is at most 21.
template <int ORDER, int GROUP>
void put_coded(Bits& from, Predictor& to, int32_t* at, int32_t* stop, int k) {
  Bits bits = from;  // copies: the compiler knows that writing samples does not change them
  Predictor predictor = to;
  while (stop - at >= GROUP && bits.refill()) {
    uint64_t top = bits.top, code[GROUP];
    int used = GROUP * (k + 1);
    for (int i = 0; i < GROUP; ++i) {
      const int zeros = __builtin_clzll(top | 1);
      top <<= zeros;
      code[i] = (top >> (63 - k)) + (static_cast<uint64_t>(zeros) << k) - (uint64_t{1} << k);
      top <<= k + 1;
      used += zeros;
    }
    if (used > Bits::FULL) {
      put_one_coded<ORDER>(bits, predictor, at++, k);
      continue;
    }
    bits.top = top;
    bits.left -= used;
    for (int i = 0; i < GROUP; ++i) predictor.put<ORDER>(at++, unfold(code[i]));
  }
  while (at < stop && bits.good()) put_one_coded<ORDER>(bits, predictor, at++, k);
  from = bits;
  to.seen = predictor.seen;
  to.last = predictor.last;
  to.last_but_one = predictor.last_but_one;
}

// Decode the residual of a subframe of `count` samples. The first `order` samples are already there.
template <int ORDER>
void put_residual(Bits& bits, Predictor& predictor, int32_t* samples, int count) {
  const uint32_t method = bits.take(2);
  const int width = method == 0 ? 4 : 5, partitions = 1 << bits.take(4);
  const int length = count / partitions, escape = (1 << width) - 1;
  if (method > 1 || length * partitions != count || length < predictor.order) return bits.fail();
  int32_t* at = samples + predictor.order;
  predictor.begin<ORDER>(at);
  for (int part = 1; part <= partitions && bits.good(); ++part) {
    int32_t* const stop = samples + part * length;
    const int k = static_cast<int>(bits.take(width));
    if (k == escape) {
      const int raw = static_cast<int>(bits.take(5));
      for (; at < stop; ++at) predictor.put<ORDER>(at, raw ? bits.take_signed(raw) : 0);
    } else if (k <= 9) {
      put_coded<ORDER, 4>(bits, predictor, at, stop, k);
    } else if (k <= 13) {
      put_coded<ORDER, 3>(bits, predictor, at, stop, k);
    } else if (k <= 21) {
      put_coded<ORDER, 2>(bits, predictor, at, stop, k);
    } else {
      while (at < stop) put_one_coded<ORDER>(bits, predictor, at++, k);
    }
    at = stop;
  }
}

using PutResidual = void (*)(Bits&, Predictor&, int32_t*, int);
constexpr PutResidual PUT_RESIDUAL[] = {
    put_residual<0>,  put_residual<1>,  put_residual<2>, put_residual<3>, put_residual<4>,
    put_residual<5>,  put_residual<6>,  put_residual<7>, put_residual<8>, put_residual<9>,
    put_residual<10>, put_residual<11>, put_residual<12>};
constexpr int FIXED[5][4] = {{}, {1}, {2, -1}, {3, -3, 1}, {4, -6, 4, -1}};

// Decode one channel of a frame, with `width` bits per sample.
void put_subframe(Bits& bits, int width, int32_t* samples, int count) {
  if (bits.take(1) != 0) return bits.fail();
  const int type = static_cast<int>(bits.take(6));
  int wasted = 0;
  if (bits.take(1)) {
    wasted = 1 + static_cast<int>(bits.take_unary(32));
    if (wasted >= width) return bits.fail();
    width -= wasted;
  }
  if (type == 0) {
    const int32_t value = bits.take_signed(width);
    for (int i = 0; i < count; ++i) samples[i] = value;
  } else if (type == 1) {
    for (int i = 0; i < count; ++i) samples[i] = bits.take_signed(width);
  } else {
    Predictor predictor;
    const bool linear = type >= 32;
    predictor.order = linear ? (type & 31) + 1 : type - 8;
    if ((!linear && (type < 8 || type > 12)) || predictor.order >= count) return bits.fail();
    for (int i = 0; i < predictor.order; ++i) samples[i] = bits.take_signed(width);
    predictor.shift = 0;
    if (linear) {
      const int precision = static_cast<int>(bits.take(4)) + 1;
      predictor.shift = bits.take_signed(5);
      if (precision == 16 || predictor.shift < 0) return bits.fail();
      for (int i = 0; i < predictor.order; ++i)
        predictor.coefficient[i] = static_cast<uint64_t>(bits.take_signed(precision));
    } else {
      for (int i = 0; i < predictor.order; ++i)
        predictor.coefficient[i] = static_cast<uint64_t>(FIXED[predictor.order][i]);
    }
    predictor.half = uint64_t{1} << (width - 1);
    predictor.seen = 0;
    (predictor.order <= 12 ? PUT_RESIDUAL[predictor.order] : put_residual<-1>)(bits, predictor,
                                                                               samples, count);
    if (predictor.seen >> width) return bits.fail();
  }
  for (int i = 0; i < count && wasted > 0; ++i)
    samples[i] = static_cast<int32_t>(static_cast<uint32_t>(samples[i]) << wasted);
}

// Replace left/side, side/right or mid/side by left and right. Return whether all samples fit `bits`.
bool separate(int assignment, int bits, int32_t* a, int32_t* b, int count) {
  uint32_t seen = 0;
  const uint32_t half = 1u << (bits - 1);
  if (assignment == 8) {
    for (int i = 0; i < count; ++i) seen |= static_cast<uint32_t>(b[i] = a[i] - b[i]) + half;
  } else if (assignment == 9) {
    for (int i = 0; i < count; ++i) seen |= static_cast<uint32_t>(a[i] += b[i]) + half;
  } else {
    for (int i = 0; i < count; ++i) {
      const int32_t side = b[i], twice = 2 * a[i] + (side & 1);
      a[i] = (twice + side) >> 1;
      b[i] = (twice - side) >> 1;
      seen |= (static_cast<uint32_t>(a[i]) + half) | (static_cast<uint32_t>(b[i]) + half);
    }
  }
  return seen >> bits == 0;
}

}  // namespace

bool parse_flac_header(const unsigned char* p, int64_t count, const FlacStream& stream,
                       FlacHeader* header) {
  if (count < 6 || p[0] != 0xFF || p[1] != (stream.fixed ? 0xF8 : 0xF9)) return false;
  const int block = p[2] >> 4, rate = p[2] & 15, assignment = p[3] >> 4, bits = p[3] >> 1 & 7;
  if (block == 0 || rate == 15 || assignment > 10 || p[3] & 1) return false;
  if ((assignment < 8 ? assignment + 1 : 2) != stream.channels) return false;
  static constexpr int BITS[] = {0, 8, 12, -1, 16, 20, 24, 32};
  if (bits != 0 && BITS[bits] != stream.bits) return false;
  int64_t number = 0;
  int at = 4;
  const int coded = parse_number(p + at, count - at, &number);
  at += coded;
  // Then come up to two bytes of block size, up to two of sample rate, and the checksum.
  const int block_bytes = block == 6 ? 1 : block == 7 ? 2 : 0;
  const int rate_bytes = rate == 12 ? 1 : rate == 13 || rate == 14 ? 2 : 0;
  if (coded == 0 || count < at + block_bytes + rate_bytes + 1) return false;
  const auto more = [&](int bytes) {
    int value = 0;
    for (; bytes > 0; --bytes) value = value << 8 | p[at++];
    return value;
  };
  header->count = block == 1   ? 192
                  : block <= 5 ? 144 << block
                  : block <= 7 ? more(block_bytes) + 1
                               : 1 << block;
  static constexpr int RATES[] = {0,     88200, 176400, 192000, 8000,  16000,
                                  22050, 24000, 32000,  44100,  48000, 96000};
  int hz = rate < 12 ? RATES[rate] : more(rate_bytes);
  if (rate == 12) hz *= 1000;
  if (rate == 14) hz *= 10;
  if (rate != 0 && hz != stream.sample_rate) return false;
  if (crc8(p, at) != p[at]) return false;
  if (stream.fixed && number > stream.stop / stream.block) return false;
  header->first = stream.fixed ? number * stream.block : number;
  header->assignment = assignment;
  header->bytes = at + 1;
  if (header->first > stream.stop - header->count || header->count > stream.block) return false;
  return !stream.fixed || header->count == stream.block || stream.stop == FLAC_UNKNOWN ||
         header->first + header->count == stream.stop;
}

int64_t decode_flac_frame(const unsigned char* p, int64_t count, const FlacStream& stream,
                          FlacHeader* header, int32_t* planes) {
  if (!parse_flac_header(p, count, stream, header)) return 0;
  Bits bits(p + header->bytes, count - header->bytes);
  for (int c = 0; c < stream.channels && bits.good(); ++c) {
    const bool side = (header->assignment == 9 && c == 0) || (header->assignment == 8 && c == 1) ||
                      (header->assignment == 10 && c == 1);
    put_subframe(bits, stream.bits + side, planes + int64_t{c} * stream.block, header->count);
  }
  if (!bits.good() || bits.take(static_cast<int>(-bits.position() & 7)) != 0) return 0;
  const int64_t bytes = header->bytes + bits.position() / 8;
  if (bytes + 2 > count || crc16(p, bytes) != (p[bytes] << 8 | p[bytes + 1])) return 0;
  if (header->assignment >= 8 &&
      !separate(header->assignment, stream.bits, planes, planes + stream.block, header->count))
    return 0;
  return bytes + 2;
}

}  // namespace headrace
