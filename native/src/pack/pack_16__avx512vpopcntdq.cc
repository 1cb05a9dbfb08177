// Packing in vectors of 16, AVX-512. How: pack_vector.h and unpack_vector.h.
#define BNN_LANES 16
#include <immintrin.h>

#include "pack/pack_vector.h"
#include "pack/unpack_vector.h"

namespace bnn {
namespace {

// The unmasked intrinsics make GCC 12 warn of an uninitialized value; these become the same
// instructions.
constexpr __mmask16 kAll = 0xffff;

inline Floats from_float16(Halves v) {
  return _mm512_maskz_cvtph_ps(kAll, reinterpret_cast<__m256i>(v));
}

inline Floats from_bfloat16(Halves v) {
  const __m512i wide = _mm512_maskz_cvtepu16_epi32(kAll, reinterpret_cast<__m256i>(v));
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(kAll, wide, 16));
}

inline Floats from_int8(Bytes v) {
  const __m512i wide = _mm512_maskz_cvtepi8_epi32(kAll, reinterpret_cast<__m128i>(v));
  return _mm512_maskz_cvtepi32_ps(kAll, wide);
}

inline Floats fused(Floats v, Floats scale, Floats shift) {
  return _mm512_fmadd_ps(v, scale, shift);
}

template <typename At>
inline word_t negative_word(const At& at, std::size_t vectors) {
  word_t word = 0;
  for (std::size_t i = 0; i < vectors; ++i) {
    const unsigned bits = _mm512_cmp_ps_mask(at(i), _mm512_setzero_ps(), _CMP_LT_OQ);
    word |= static_cast<word_t>(bits) << (i * kLanes);
  }
  return word;
}

}  // namespace

namespace pack_16__avx512vpopcntdq {

void pack_rows(const PackArgs& args, std::size_t begin, std::size_t end) {
  dispatch<PackRows>(args.dtype, args, begin, end);
}
void unpack_rows(const UnpackArgs& args, std::size_t begin, std::size_t end) {
  dispatch<UnpackRows>(args.dtype, args, begin, end);
}
void pack_planes(const PackArgs& args, std::size_t begin, std::size_t end) {
  dispatch<PackPlanes>(args.dtype, args, begin, end);
}
void unpack_planes(const UnpackArgs& args, std::size_t begin, std::size_t end) {
  dispatch<UnpackPlanes>(args.dtype, args, begin, end);
}

}  // namespace pack_16__avx512vpopcntdq

}  // namespace bnn
