// Binary product, 8 rows by 32 filters, AVX-512 with VPOPCNTDQ.
//
//   popcounts[n] = popcount(row xor filter n) over the words of all runs
//
// Lanes are filters: one 32-bit half word of a row is broadcast, XORed with the same half word of
// 16 filters, and VPOPCNTD adds to 16 sums. No sum is ever taken across lanes. 8 x 2 accumulators,
// so that a load of weights serves 8 rows; XOR, VPOPCNTD and VPADDD then fill the vector ports.
//
// Panel: blocks of 32 filters (the last one of 16 where that is enough), each
// [half word of the filter][filter]. Half words that hold only pad bits are not in it. Filters
// beyond the last are 0; their sums are written to the excess of `stride` and mean nothing.
#include <immintrin.h>

#include "bgemm/bgemm.h"

namespace bnn::bgemm_8x32__avx512vpopcntdq {

namespace {

constexpr std::size_t kLanes = 16;
constexpr std::size_t kBlock = 2 * kLanes;

// Half words of a tap that hold values.
std::size_t tap_halves(const PanelShape& shape) { return (shape.tap_bits + 31) / 32; }

std::size_t padded_filters(const PanelShape& shape) {
  return (shape.n + kLanes - 1) / kLanes * kLanes;
}

// Stretches of consecutive half words: a whole run, or a tap if its last half word is skipped.
struct Walk {
  std::size_t halves, stretches, a_step;
};

inline Walk walk(const PanelShape& shape, const Run& run) {
  const std::size_t halves = tap_halves(shape);
  if (halves == 2 * shape.tap_words) return {2 * run.count, 1, 0};
  return {halves, run.count / shape.tap_words, 2 * shape.tap_words};
}

// Unrolled by hand in all loops over M and V: else GCC keeps the sums in memory between runs.
#define BNN_UNROLL _Pragma("GCC unroll 16")

template <int M, int V>
void block(const TileArgs& args, std::size_t row, const std::uint32_t* panel, std::int32_t* out) {
  const std::size_t halves_of_tap = tap_halves(args.shape);
  __m512i sums[M][V];
  BNN_UNROLL for (int m = 0; m < M; ++m) {
    BNN_UNROLL for (int v = 0; v < V; ++v) sums[m][v] = _mm512_setzero_si512();
  }
  for (std::size_t r = 0; r < args.run_count; ++r) {
    const Run& run = args.runs[r];
    const Walk steps = walk(args.shape, run);
    const std::uint32_t* w = panel + run.k / args.shape.tap_words * halves_of_tap * (V * kLanes);
    std::ptrdiff_t at = run.offset * 2;
    for (std::size_t s = 0; s < steps.stretches; ++s, at += steps.a_step) {
      const std::uint32_t* a[M];
      BNN_UNROLL for (int m = 0; m < M; ++m) {
        a[m] = reinterpret_cast<const std::uint32_t*>(args.rows[row + m]) + at;
      }
      for (std::size_t i = 0; i < steps.halves; ++i, w += V * kLanes) {
        __m512i weights[V];
        BNN_UNROLL for (int v = 0; v < V; ++v) weights[v] = _mm512_loadu_si512(w + v * kLanes);
        BNN_UNROLL for (int m = 0; m < M; ++m) {
          const __m512i x = _mm512_set1_epi32(static_cast<int>(a[m][i]));
          BNN_UNROLL for (int v = 0; v < V; ++v) {
            sums[m][v] =
                _mm512_add_epi32(sums[m][v], _mm512_popcnt_epi32(_mm512_xor_si512(x, weights[v])));
          }
        }
      }
    }
  }
  BNN_UNROLL for (int m = 0; m < M; ++m) {
    BNN_UNROLL for (int v = 0; v < V; ++v) {
      _mm512_storeu_si512(out + m * args.stride + v * kLanes, sums[m][v]);
    }
  }
}

// All rows with V * 16 filters, whose weights stay in the first-level cache.
template <int V>
void filters(const TileArgs& args, const std::uint32_t* panel, std::int32_t* out) {
  std::size_t row = 0;
  for (; row + 8 <= args.m; row += 8) block<8, V>(args, row, panel, out + row * args.stride);
  std::int32_t* rest = out + row * args.stride;
  switch (args.m - row) {
    case 7:
      return block<7, V>(args, row, panel, rest);
    case 6:
      return block<6, V>(args, row, panel, rest);
    case 5:
      return block<5, V>(args, row, panel, rest);
    case 4:
      return block<4, V>(args, row, panel, rest);
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
    const std::size_t lanes = n0 + kBlock <= padded ? kBlock : kLanes;
    for (std::size_t tap = 0; tap < shape.taps; ++tap) {
      for (std::size_t half = 0; half < halves; ++half) {
        for (std::size_t n = n0; n < n0 + lanes; ++n) {
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
    filters<2>(args, panel + n * halves, args.popcounts + n);
  }
  if (n < padded) filters<1>(args, panel + n * halves, args.popcounts + n);
}

}  // namespace bnn::bgemm_8x32__avx512vpopcntdq
