// Weight-only tile of 6 pixels and 16 filters, AVX2.
//
//   out[m][n] = scale[n] * sum of (x[m][k], its sign flipped where the weight's bit is 1) + bias[n]
//
// A register holds 8 of the 16 signed sums of four activations: those where the fourth keeps its
// sign. Where it does not (bit 3 of the index is 1), the sum is that of the opposite signs,
// negated:
//
//   sum(b3 b2 b1 b0) = -sum(~b3 ~b2 ~b1 ~b0)
//
// so the bits 0 to 2 are stored inverted where bit 3 is 1, and bit 3 flips the sum's sign. VPERMPS
// uses the low three bits of each lane's index: 32 products take a permutation, xor and addition.
#define BNN_LANES 8
#include <immintrin.h>

#include "weight_only/kernel.h"

namespace bnn {
namespace {

constexpr std::size_t kFilters = 16, kTableFloats = 8;
constexpr int kPixels = 6, kVectors = 2;

}  // namespace
}  // namespace bnn

#include "weight_only/vector.h"

namespace bnn {
namespace {

template <int M, int V>
inline void add_table(const float* const* tables, std::size_t offset, Bits* bits,
                      Floats (*sums)[V]) {
  for (int v = 0; v < V; ++v) {
    const Bits signs = (bits[v] << 28) & 0x80000000;
    for (int m = 0; m < M; ++m) {
      const Floats table = load(tables[m] + offset);
      const Floats sum = _mm256_permutevar8x32_ps(table, reinterpret_cast<__m256i>(bits[v]));
      sums[m][v] += flip(sum, signs);
    }
    bits[v] >>= static_cast<unsigned>(kTableInputs);
  }
}

// +1 where bit j of the lane's number is 0, else -1.
inline Floats pattern(int j) {
  Floats signs;
  for (int i = 0; i < BNN_LANES; ++i) signs[i] = (i >> j & 1) != 0 ? -1.0f : 1.0f;
  return signs;
}

// r[i] becomes column i of the 8x8 matrix of half words whose rows are r.
inline void transpose(__m256i* r) {
  __m256i t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // Now r[4 * a + b] holds columns b and b + 4 of the rows 4 * a to 4 * a + 3.
  for (int b = 0; b < 4; ++b) {
    t[b] = _mm256_permute2x128_si256(r[b], r[4 + b], 0x20);
    t[4 + b] = _mm256_permute2x128_si256(r[b], r[4 + b], 0x31);
  }
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}

}  // namespace

namespace weight_only_6x16__avx2 {

void expand(const float* x, std::size_t channels, float* tables) {
  const Floats p0 = pattern(0), p1 = pattern(1), p2 = pattern(2);
  std::size_t c = 0;
  for (; c + kTableInputs <= channels; c += kTableInputs, tables += kTableFloats) {
    Floats sums = _mm256_fmadd_ps(Floats{} + x[c], p0, Floats{} + x[c + 3]);
    sums = _mm256_fmadd_ps(Floats{} + x[c + 1], p1, sums);
    store(tables, _mm256_fmadd_ps(Floats{} + x[c + 2], p2, sums));
  }
  if (c == channels) return;
  Floats sums = x[c] * p0;
  if (c + 1 < channels) sums += x[c + 1] * p1;
  if (c + 2 < channels) sums += x[c + 2] * p2;
  store(tables, sums);
}

void arrange(const word_t* const* rows, std::size_t count, std::uint32_t* bits) {
  const Bits fourth = Bits{} + 0x88888888;
  for (std::size_t w = 0; w < count; w += 4) {
    const std::size_t part = count - w < 4 ? count - w : 4;
    alignas(32) std::int64_t mask[4];
    for (std::size_t i = 0; i < 4; ++i) mask[i] = i < part ? -1 : 0;
    const __m256i valid = _mm256_load_si256(reinterpret_cast<const __m256i*>(mask));
    for (std::size_t n = 0; n < kFilters; n += kLanes) {
      __m256i r[8];
      for (std::size_t i = 0; i < 8; ++i) {
        const long long* from = reinterpret_cast<const long long*>(rows[n + i] + w);
        r[i] = _mm256_maskload_epi64(from, valid);
      }
      transpose(r);
      for (std::size_t i = 0; i < 2 * part; ++i) {
        const Bits column = reinterpret_cast<Bits>(r[i]);
        // 8 - 1 = 7: the three bits below each bit 3.
        const Bits inverted = (column & fourth) - ((column & fourth) >> 3);
        const Bits stored = column ^ inverted;
        __builtin_memcpy(bits + (2 * w + i) * kFilters + n, &stored, sizeof(stored));
      }
    }
  }
}

void tile(const WeightOnlyTile& tile) { run_tile(tile); }

void lane_row(const LaneRow& row) { run_lane_row(row); }

}  // namespace weight_only_6x16__avx2

}  // namespace bnn
