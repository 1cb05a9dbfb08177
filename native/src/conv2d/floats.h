// Vectors of BNN_LANES floats, for files that are compiled for one ISA: 16 with AVX-512, 8 with
// AVX2 and FMA, 4 with what every compiler has. In an unnamed namespace: no other file may get code
// compiled with this one's flags.
#pragma once

#include <cstddef>

#include "bnn/word.h"

#if BNN_LANES > 4
#include <immintrin.h>
#endif

namespace bnn {
namespace {

constexpr std::size_t kLanes = BNN_LANES;

typedef float Floats __attribute__((vector_size(4 * BNN_LANES)));

inline Floats load(const float* from) {
  Floats v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

inline void store(float* to, Floats v) { __builtin_memcpy(to, &v, sizeof(v)); }

// multiply_add: a * b + sum, fused where the ISA has it.
// larger: x where x > most, most where it is not, NaN where one of them is.
// relu: 0 where v < 0, else v. Of a NaN and a number, an instruction gives its second operand.
#if BNN_LANES == 16

inline Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm512_fmadd_ps(a, b, sum); }

// Where x is NaN, the maximum is its second operand, most, and then x is put there. With a mask of
// all lanes: GCC 12 warns of the form without one.
inline Floats larger(Floats x, Floats most) {
  constexpr int kFirstTwo = 0x11;  // of the table: quiet and signalling NaN: that of x
  const Floats maximum = _mm512_maskz_max_ps(0xffff, x, most);
  return _mm512_fixupimm_ps(maximum, x, _mm512_set1_epi32(kFirstTwo), 0);
}

inline Floats relu(Floats v) { return _mm512_maskz_max_ps(0xffff, Floats{}, v); }

// The first floats, fewer than a vector has, and 0. Nothing behind them is read or written.
inline Floats load_some(const float* from, std::size_t count) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
}
inline void store_some(float* to, std::size_t count, Floats v) {
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), v);
}

// Bit i = (v[i] < 0). Four vectors are a word: others would have to put words together.
inline word_t negative(Floats v) { return _mm512_cmp_ps_mask(v, Floats{}, _CMP_LT_OQ); }

#elif BNN_LANES == 8

inline Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm256_fmadd_ps(a, b, sum); }

inline Floats larger(Floats x, Floats most) {
  const __m256 take = _mm256_cmp_ps(x, most, _CMP_NLE_UQ);  // larger, or one of them is NaN
  const __m256 keep = _mm256_cmp_ps(most, most, _CMP_UNORD_Q);
  return _mm256_blendv_ps(most, x, _mm256_andnot_ps(keep, take));
}

inline Floats relu(Floats v) { return _mm256_max_ps(Floats{}, v); }

#else

inline Floats multiply_add(Floats a, Floats b, Floats sum) { return sum + a * b; }

inline Floats larger(Floats x, Floats most) { return (x > most) | (x != x) ? x : most; }

inline Floats relu(Floats v) { return v < Floats{} ? Floats{} : v; }

#endif

}  // namespace
}  // namespace bnn
