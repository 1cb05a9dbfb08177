// Packing in vectors of 4, portable vectors. How: pack_vector.h and unpack_vector.h.
#define BNN_LANES 4
#include "pack/pack_vector.h"
#include "pack/unpack_vector.h"

namespace bnn {
namespace {

// Subnormals are made normal by an exact subtraction, which also serves a thread that flushes
// subnormals to zero.
inline Floats from_float16(Halves v) {
  const Ints half = __builtin_convertvector(v, Ints);
  const Ints sign = (half & 0x8000) << 16, magnitude = (half & 0x7fff) << 13;
  const Ints smallest = Ints{} + (113 << 23);  // 2^-14, the smallest normal half
  const Floats small = as_floats(magnitude + smallest) - as_floats(smallest);
  Ints small_bits;
  __builtin_memcpy(&small_bits, &small, sizeof(small));
  // The exponent's bias grows by 112; that of infinity and NaN goes to the top.
  const Ints normal = magnitude + (112 << 23), special = magnitude + (224 << 23);
  const Ints is_small = magnitude < (1 << 23), is_special = magnitude >= (31 << 23);
  const Ints large = (special & is_special) | (normal & ~is_special);
  return as_floats(sign | (small_bits & is_small) | (large & ~is_small));
}

inline Floats from_bfloat16(Halves v) { return as_floats(__builtin_convertvector(v, Ints) << 16); }

inline Floats from_int8(Bytes v) {
  return __builtin_convertvector(__builtin_convertvector(v, Ints), Floats);
}

// A call for each value where the architecture has no such instruction, which only old x86 lacks.
inline Floats fused(Floats v, Floats scale, Floats shift) {
  for (std::size_t i = 0; i < kLanes; ++i) v[i] = __builtin_fmaf(v[i], scale[i], shift[i]);
  return v;
}

template <typename At>
inline word_t negative_word(const At& at, std::size_t vectors) {
  constexpr std::size_t kHalf = 32 / kLanes;
  word_t word = 0;
  for (std::size_t first = 0; first < vectors; first += kHalf) {
    const std::size_t count = vectors - first < kHalf ? vectors - first : kHalf;
    Ints bits = {}, place = {1, 2, 4, 8};
    for (std::size_t i = 0; i < count; ++i) {
      bits |= (at(first + i) < Floats{}) & place;
      place <<= static_cast<int>(kLanes);
    }
    const std::int32_t all = bits[0] | bits[1] | bits[2] | bits[3];
    word |= static_cast<word_t>(static_cast<std::uint32_t>(all)) << (first * kLanes);
  }
  return word;
}

}  // namespace

namespace pack_4__portable {

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

}  // namespace pack_4__portable

}  // namespace bnn
