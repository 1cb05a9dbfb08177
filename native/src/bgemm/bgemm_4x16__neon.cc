// Binary product in blocks of 4 rows by 16 filters, NEON (part of every AArch64 CPU).
//
//   popcounts[n] = popcount(row xor filter n) over the words of all runs
//
// Lanes are filters: one 32-bit half word of a row is broadcast, XORed with the same half word of 4
// filters, CNT gives the bits of each byte, and they are added as bytes. A byte holds the sum of
// 31 steps (31 * 8 = 248); then pairwise additions widen it into 32-bit sums, one for each filter.
// No sum is ever taken across filters.
//
// 4 x 4 byte accumulators, 4 registers of weights, a broadcast and the temporaries of EOR and CNT
// fit into 32 registers; the 32-bit sums are in memory and are touched once in 31 steps. A step
// has 8 loads for 48 vector operations, so the two vector ports are the limit and not the loads.
//
// Panel: blocks of 16 filters (the last one of 4, 8 or 12 where that is enough), each
// [half word of the filter][filter]. Half words that hold only pad bits are not in it. Filters
// beyond the last are 0; their sums are written to the excess of `stride` and mean nothing.
#include <arm_neon.h>

#include "bgemm/bgemm.h"

namespace bnn::bgemm_4x16__neon {

namespace {

constexpr std::size_t kLanes = 4;
constexpr int kVectors = 4;
constexpr std::size_t kBlock = kVectors * kLanes;
constexpr std::size_t kByteSteps = 31;  // a step adds up to 8 to a byte

// Half words of a tap that hold values.
std::size_t tap_halves(const PanelShape& shape) { return (shape.tap_bits + 31) / 32; }

std::size_t padded_filters(const PanelShape& shape) {
  return (shape.n + kLanes - 1) / kLanes * kLanes;
}

// M rows by V vectors of filters. Only the byte sums are in registers: the 32-bit ones stay where
// they are wanted, or the compiler would save and restore them around every stretch.
template <int M, int V>
inline void clear(uint8x16_t (&bytes)[M][V]) {
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < V; ++v) bytes[m][v] = vdupq_n_u8(0);
  }
}

// Moves the byte sums to the 32-bit ones, of which each covers the 4 bytes of its lane.
template <int M, int V>
inline void widen(uint8x16_t (&bytes)[M][V], std::int32_t* out, std::size_t stride) {
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < V; ++v) {
      std::int32_t* at = out + m * stride + v * kLanes;
      const uint32x4_t before = vreinterpretq_u32_s32(vld1q_s32(at));
      const uint32x4_t after = vpadalq_u16(before, vpaddlq_u8(bytes[m][v]));
      vst1q_s32(at, vreinterpretq_s32_u32(after));
    }
  }
  clear(bytes);
}

// One half word of each row and of each filter.
template <int M, int V>
inline void step(uint8x16_t (&bytes)[M][V], const unsigned char* const (&a)[M], std::size_t i,
                 const std::uint32_t* w) {
  uint32x4_t weights[V];
  for (int v = 0; v < V; ++v) weights[v] = vld1q_u32(w + v * kLanes);
  for (int m = 0; m < M; ++m) {
    std::uint32_t half;
    __builtin_memcpy(&half, a[m] + i * sizeof(half), sizeof(half));
    uint32x4_t x = vdupq_n_u32(half);
    // Row after row: left alone, GCC 12 begins all rows at once and runs out of registers.
    asm volatile("" : "+w"(x));
    for (int v = 0; v < V; ++v) {
      const uint8x16_t differ = vreinterpretq_u8_u32(veorq_u32(x, weights[v]));
      bytes[m][v] = vaddq_u8(bytes[m][v], vcntq_u8(differ));
    }
  }
}

template <int M, int V>
void block(const TileArgs& args, std::size_t row, const std::uint32_t* panel, std::int32_t* out) {
  const std::size_t tap_words = args.shape.tap_words, halves_of_tap = tap_halves(args.shape);
  const bool whole = halves_of_tap == 2 * tap_words;  // no half word is skipped
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < V; ++v) vst1q_s32(out + m * args.stride + v * kLanes, vdupq_n_s32(0));
  }
  uint8x16_t bytes[M][V];
  clear(bytes);
  std::size_t room = kByteSteps;  // steps that the bytes can still take
  for (std::size_t r = 0; r < args.run_count; ++r) {
    const Run& run = args.runs[r];
    const std::uint32_t* w = panel + run.tap * halves_of_tap * (V * kLanes);
    const std::size_t stretches = whole ? 1 : run.taps;
    for (std::size_t s = 0; s < stretches; ++s) {
      const unsigned char* a[M];
      for (int m = 0; m < M; ++m) {
        const word_t* begin = args.rows[row + m] + run.offset + s * tap_words;
        a[m] = reinterpret_cast<const unsigned char*>(begin);
      }
      const std::size_t halves = whole ? 2 * run.count : halves_of_tap;
      for (std::size_t begin = 0; begin < halves;) {
        const std::size_t end = halves - begin < room ? halves : begin + room;
        room -= end - begin;
        for (std::size_t i = begin; i < end; ++i, w += V * kLanes) step(bytes, a, i, w);
        begin = end;
        if (room != 0) continue;
        widen(bytes, out, args.stride);
        room = kByteSteps;
      }
    }
  }
  widen(bytes, out, args.stride);
}

// All rows with V * 4 filters, whose weights stay in the first-level cache.
template <int V>
void filters(const TileArgs& args, const std::uint32_t* panel, std::int32_t* out) {
  std::size_t row = 0;
  for (; row + 4 <= args.m; row += 4) block<4, V>(args, row, panel, out + row * args.stride);
  std::int32_t* rest = out + row * args.stride;
  switch (args.m - row) {
    case 3:
      return block<3, V>(args, row, panel, rest);
    case 2:
      return block<2, V>(args, row, panel, rest);
    case 1:
      return block<1, V>(args, row, panel, rest);
    default:
      return;
  }
}

}  // namespace

std::size_t panel_bytes(const PanelShape& shape) {
  return padded_filters(shape) * shape.taps * tap_halves(shape) * sizeof(std::uint32_t);
}

void make_panel(const PanelShape& shape, const word_t* weight, void* panel) {
  std::uint32_t* out = static_cast<std::uint32_t*>(panel);
  const std::size_t halves = tap_halves(shape);
  const std::size_t padded = padded_filters(shape);
  for (std::size_t n0 = 0; n0 < padded; n0 += kBlock) {
    const std::size_t end = n0 + kBlock <= padded ? n0 + kBlock : padded;
    for (std::size_t tap = 0; tap < shape.taps; ++tap) {
      for (std::size_t half = 0; half < halves; ++half) {
        for (std::size_t n = n0; n < end; ++n) {
          const word_t* filter = weight + (n * shape.taps + tap) * shape.tap_words;
          *out++ =
              n < shape.n ? static_cast<std::uint32_t>(filter[half / 2] >> (half % 2 * 32)) : 0;
        }
      }
    }
  }
}

void tile(const TileArgs& args) {
  const std::size_t halves = args.shape.taps * tap_halves(args.shape);
  const std::size_t padded = padded_filters(args.shape);
  const std::uint32_t* panel = static_cast<const std::uint32_t*>(args.panel);
  std::size_t n = 0;
  for (; n + kBlock <= padded; n += kBlock) {
    filters<kVectors>(args, panel + n * halves, args.popcounts + n);
  }
  switch ((padded - n) / kLanes) {
    case 3:
      return filters<3>(args, panel + n * halves, args.popcounts + n);
    case 2:
      return filters<2>(args, panel + n * halves, args.popcounts + n);
    case 1:
      return filters<1>(args, panel + n * halves, args.popcounts + n);
    default:
      return;
  }
}

}  // namespace bnn::bgemm_4x16__neon
