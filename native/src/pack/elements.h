// Vectors of BNN_LANES elements of every type, for files that are compiled for one ISA.
//
// GCC's and Clang's vector types: one source for all ISAs. Everything is in an unnamed namespace:
// no other file may get code compiled with this one's flags.
#pragma once

#include "pack/pack.h"

namespace bnn {
namespace {

constexpr std::size_t kLanes = BNN_LANES;

typedef float Floats __attribute__((vector_size(4 * BNN_LANES)));
typedef std::int32_t Ints __attribute__((vector_size(4 * BNN_LANES)));
typedef std::uint16_t Halves __attribute__((vector_size(2 * BNN_LANES)));
typedef std::int8_t Bytes __attribute__((vector_size(BNN_LANES)));

template <typename Vector>
inline Vector load(const void* from) {
  Vector v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

inline Floats as_floats(Ints v) {
  Floats f;
  __builtin_memcpy(&f, &v, sizeof(f));
  return f;
}

// Defined by each file: to float32. (Left to __builtin_convertvector, GCC 12 takes bytes apart one
// by one.)
inline Floats from_float16(Halves v);
inline Floats from_bfloat16(Halves v);
inline Floats from_int8(Bytes v);

// Each type: how it is read as float32, and the bit patterns of +1 and -1.

struct Float32 {
  typedef float Element;
  typedef Ints Vector;
  static Floats read(const Element* x) { return load<Floats>(x); }
  static constexpr std::int32_t kPlus = 0x3f800000, kMinus = kPlus | INT32_MIN;
};

struct Float16 {
  typedef std::uint16_t Element;
  typedef Halves Vector;
  static Floats read(const Element* x) { return from_float16(load<Halves>(x)); }
  static constexpr std::int32_t kPlus = 0x3c00, kMinus = 0xbc00;
};

struct BFloat16 {
  typedef std::uint16_t Element;
  typedef Halves Vector;
  static Floats read(const Element* x) { return from_bfloat16(load<Halves>(x)); }
  static constexpr std::int32_t kPlus = 0x3f80, kMinus = 0xbf80;
};

struct Int8 {
  typedef std::int8_t Element;
  typedef Bytes Vector;
  static Floats read(const Element* x) { return from_int8(load<Bytes>(x)); }
  static constexpr std::int32_t kPlus = 1, kMinus = -1;
};

// Calls what<Type>::run(arguments...) for the type `dtype`.
template <template <typename> class What, typename... Arguments>
void dispatch(DType dtype, const Arguments&... arguments) {
  switch (dtype) {
    case DType::kFloat32:
      return What<Float32>::run(arguments...);
    case DType::kFloat16:
      return What<Float16>::run(arguments...);
    case DType::kBFloat16:
      return What<BFloat16>::run(arguments...);
    case DType::kInt8:
      return What<Int8>::run(arguments...);
  }
}

}  // namespace
}  // namespace bnn
