// Packing in vectors of 8, AVX2. How: pack_vector.h and unpack_vector.h.
#define BNN_LANES 8
#include <immintrin.h>

#include "pack/pack_vector.h"
#include "pack/unpack_vector.h"

namespace bnn {
namespace {

inline Floats from_float16(Halves v) { return _mm256_cvtph_ps(reinterpret_cast<__m128i>(v)); }

inline Floats from_bfloat16(Halves v) {
  const __m256i wide = _mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(v));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

inline Floats from_int8(Bytes v) {
  std::int64_t bytes;
  __builtin_memcpy(&bytes, &v, sizeof(bytes));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(bytes)));
}

inline Floats fused(Floats v, Floats scale, Floats shift) {
  return _mm256_fmadd_ps(v, scale, shift);
}

template <typename At>
inline word_t negative_word(const At& at, std::size_t vectors) {
  word_t word = 0;
  for (std::size_t i = 0; i < vectors; ++i) {
    const __m256 below = _mm256_cmp_ps(at(i), _mm256_setzero_ps(), _CMP_LT_OQ);
    const unsigned bits = static_cast<unsigned>(_mm256_movemask_ps(below));
    word |= static_cast<word_t>(bits) << (i * kLanes);
  }
  return word;
}

}  // namespace

namespace pack_8__avx2 {

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

}  // namespace pack_8__avx2

}  // namespace bnn
