// Weight-only tile of 6 pixels and 64 filters, AVX-512.
//
//   out[m][n] = scale[n] * sum of (x[m][k], its sign flipped where the weight's bit is 1) + bias[n]
//
// A table is one register: entry i is the sum of four activations, activation j negated if bit j of
// i is 1. VPERMPS uses the low four bits of each lane's index, so shifting the weights is all that
// is left to do: 64 products take a permutation and an addition.
#define BNN_LANES 16
#include <immintrin.h>

#include "weight_only/kernel.h"

namespace bnn {
namespace {

constexpr std::size_t kFilters = 64, kTableFloats = 16;
constexpr int kPixels = 6, kVectors = 4;

}  // namespace
}  // namespace bnn

#include "weight_only/vector.h"

namespace bnn {
namespace {

// The unmasked intrinsics make GCC 12 warn of an uninitialized value; those with this mask become
// the same instructions.
constexpr __mmask16 kAll = 0xffff;

inline Floats look_up(Floats table, Bits index) {
  return _mm512_maskz_permutexvar_ps(kAll, reinterpret_cast<__m512i>(index), table);
}

template <int M, int V>
inline void add_table(const float* const* tables, std::size_t offset, Bits* bits,
                      Floats (*sums)[V]) {
  for (int m = 0; m < M; ++m) {
    const Floats table = load(tables[m] + offset);
    for (int v = 0; v < V; ++v) sums[m][v] += look_up(table, bits[v]);
  }
  for (int v = 0; v < V; ++v) bits[v] >>= static_cast<unsigned>(kTableInputs);
}

// +1 where bit j of the lane's number is 0, else -1.
inline Floats pattern(int j) {
  Floats signs;
  for (int i = 0; i < BNN_LANES; ++i) signs[i] = (i >> j & 1) != 0 ? -1.0f : 1.0f;
  return signs;
}

// r[i] becomes column i of the 16x16 matrix of half words whose rows are r.
inline void transpose(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_maskz_unpacklo_epi32(kAll, r[i], r[i + 1]);
    t[i + 1] = _mm512_maskz_unpackhi_epi32(kAll, r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_maskz_unpacklo_epi64(0xff, t[i], t[i + 2]);
    r[i + 1] = _mm512_maskz_unpackhi_epi64(0xff, t[i], t[i + 2]);
    r[i + 2] = _mm512_maskz_unpacklo_epi64(0xff, t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_maskz_unpackhi_epi64(0xff, t[i + 1], t[i + 3]);
  }
  // Now r[4 * a + b] holds columns b, b + 4, b + 8, b + 12 of the rows 4 * a to 4 * a + 3.
  for (int b = 0; b < 4; ++b) {
    t[b] = _mm512_maskz_shuffle_i32x4(kAll, r[b], r[4 + b], 0x88);
    t[4 + b] = _mm512_maskz_shuffle_i32x4(kAll, r[b], r[4 + b], 0xdd);
    t[8 + b] = _mm512_maskz_shuffle_i32x4(kAll, r[8 + b], r[12 + b], 0x88);
    t[12 + b] = _mm512_maskz_shuffle_i32x4(kAll, r[8 + b], r[12 + b], 0xdd);
  }
  for (int b = 0; b < 4; ++b) {
    r[b] = _mm512_maskz_shuffle_i32x4(kAll, t[b], t[8 + b], 0x88);
    r[4 + b] = _mm512_maskz_shuffle_i32x4(kAll, t[4 + b], t[12 + b], 0x88);
    r[8 + b] = _mm512_maskz_shuffle_i32x4(kAll, t[b], t[8 + b], 0xdd);
    r[12 + b] = _mm512_maskz_shuffle_i32x4(kAll, t[4 + b], t[12 + b], 0xdd);
  }
}

}  // namespace

namespace weight_only_6x64__avx512vpopcntdq {

void expand(const float* x, std::size_t channels, float* tables) {
  const Floats p0 = pattern(0), p1 = pattern(1), p2 = pattern(2), p3 = pattern(3);
  std::size_t c = 0;
  for (; c + kTableInputs <= channels; c += kTableInputs, tables += kTableFloats) {
    Floats sums = x[c] * p0;
    sums = _mm512_fmadd_ps(Floats{} + x[c + 1], p1, sums);
    sums = _mm512_fmadd_ps(Floats{} + x[c + 2], p2, sums);
    store(tables, _mm512_fmadd_ps(Floats{} + x[c + 3], p3, sums));
  }
  if (c == channels) return;
  Floats sums = x[c] * p0;
  if (c + 1 < channels) sums += x[c + 1] * p1;
  if (c + 2 < channels) sums += x[c + 2] * p2;
  store(tables, sums);
}

void arrange(const word_t* const* rows, std::size_t count, std::uint32_t* bits) {
  for (std::size_t w = 0; w < count; w += 8) {
    const std::size_t part = count - w < 8 ? count - w : 8;
    const __mmask8 mask = static_cast<__mmask8>((1 << part) - 1);
    for (std::size_t n = 0; n < kFilters; n += kLanes) {
      __m512i r[16];
      for (std::size_t i = 0; i < 16; ++i) r[i] = _mm512_maskz_loadu_epi64(mask, rows[n + i] + w);
      transpose(r);
      for (std::size_t i = 0; i < 2 * part; ++i) {
        __builtin_memcpy(bits + (2 * w + i) * kFilters + n, &r[i], sizeof(r[i]));
      }
    }
  }
}

void tile(const WeightOnlyTile& tile) { run_tile(tile); }

void lane_row(const LaneRow& row) { run_lane_row(row); }

}  // namespace weight_only_6x64__avx512vpopcntdq

}  // namespace bnn
