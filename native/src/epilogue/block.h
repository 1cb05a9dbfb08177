// The epilogue's steps in vectors of BNN_LANES floats, for a block of pixels and channels. For
// files that are compiled for one ISA.
//
// GCC's and Clang's vector types: one source gives every ISA the same operations, each rounded
// once, so all agree to the last bit. A block of pixels and channels stays in registers from the
// sums to the stores: an absent step is tested for once per block, not once per vector, and a
// parameter is loaded once for the block's pixels. Everything is in an unnamed namespace: no other
// file may get code compiled with this one's flags.
#pragma once

#include "epilogue/epilogue.h"

#define BNN_UNROLL _Pragma("GCC unroll 16")
#define BNN_INLINE inline __attribute__((always_inline))

namespace bnn {
namespace {

typedef float Floats __attribute__((vector_size(4 * BNN_LANES)));
typedef std::int32_t Ints __attribute__((vector_size(4 * BNN_LANES)));

inline Floats load(const float* from) {
  Floats v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

inline void store(float* to, Floats v) { __builtin_memcpy(to, &v, sizeof(v)); }

// Defined by each file: bit i = (v[i] < 0).
inline word_t negative(Floats v);

// Defined by each file: bit i = (v[i] > limit[i]).
inline word_t greater(Ints v, Ints limit);

// Defined by each file: v * scale + shift, rounded once.
inline Floats fused(Floats v, Floats scale, Floats shift);

inline Floats relu(Floats v) { return v < Floats{} ? Floats{} : v; }

inline Ints load(const std::int32_t* from) {
  Ints v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

inline Floats start(const std::int32_t* popcounts, std::int32_t k) {
  const Ints count = load(popcounts);
  return __builtin_convertvector(k - (count + count), Floats);
}

inline Floats start(const float* values, std::int32_t) { return load(values); }

constexpr const float* Epilogue::* kParameters[] = {
    &Epilogue::scale,           &Epilogue::bias,         &Epilogue::post_scale,
    &Epilogue::first_slope,     &Epilogue::affine_scale, &Epilogue::affine_shift,
    &Epilogue::second_shift_in, &Epilogue::second_slope, &Epilogue::second_shift_out,
    &Epilogue::bit_scale,       &Epilogue::bit_shift};
constexpr int kParameterCount = sizeof(kParameters) / sizeof(kParameters[0]);

// Where one pixel's values are: those of channel 0, also where a tile begins at another. Sum is
// std::int32_t for counted bits, float for float sums.
template <typename Sum>
struct Row {
  const Sum* sums;
  const float* residual;  // or null
  float* out;             // or null

  Row() = default;
  Row(const EpilogueTile& t, const Sum* first, std::size_t m)
      : sums(first + m * t.stride - t.begin) {
    const std::size_t offset = t.pixel(m) * t.channels;
    residual = t.epilogue->residual == nullptr ? nullptr : t.epilogue->residual + offset;
    out = t.epilogue->out == nullptr ? nullptr : t.epilogue->out + offset;
  }
  Row(const Sum* values, const float* added, float* result)
      : sums(values), residual(added), out(result) {}
};

// R pixels with V vectors of channels each, from channel c of the parameters on: v[i * R + r].
// After every kPeriod channels the next pixel's begin. One loop, not two: GCC keeps in registers
// what one loop unrolls.
template <int R, int V, int kPeriod, typename Sum>
struct Block {
  Floats v[V * R];
  const Row<Sum>* rows;
  std::size_t c;

#define BNN_EACH BNN_UNROLL for (int j = 0; j < V * R; ++j)
  BNN_INLINE Floats of(const float* parameter, int j) const {
    return load(parameter + c + j / R * BNN_LANES % kPeriod);
  }
  BNN_INLINE void begin(std::int32_t k) {
    BNN_EACH v[j] = start(rows[j % R].sums + c + j / R * BNN_LANES, k);
  }
  BNN_INLINE void multiply(const float* by) {
    if (by == nullptr) return;
    BNN_EACH v[j] *= of(by, j);
  }
  BNN_INLINE void add(const float* what) {
    if (what == nullptr) return;
    BNN_EACH v[j] += of(what, j);
  }
  BNN_INLINE void add_residual() {
    BNN_EACH v[j] += load(rows[j % R].residual + c + j / R * BNN_LANES);
  }
  BNN_INLINE void affine(const float* scale, const float* shift) {
    if (scale == nullptr) return add(shift);
    if (shift == nullptr) return multiply(scale);
    BNN_EACH v[j] = fused(v[j], of(scale, j), of(shift, j));
  }
  BNN_INLINE void rectify() { BNN_EACH v[j] = relu(v[j]); }
  BNN_INLINE void activate(Activation activation, const float* slope) {
    const Floats zero = {}, one = zero + 1.0f;
    switch (activation) {
      case Activation::kNone:
        return;
      case Activation::kRelu:
        return rectify();
      case Activation::kPrelu:
        BNN_EACH v[j] = v[j] < zero ? v[j] * of(slope, j) : v[j];
        return;
      case Activation::kHardtanh:
        BNN_EACH {
          const Floats low = v[j] < -one ? -one : v[j];
          v[j] = low > one ? one : low;
        }
        return;
    }
  }
  BNN_INLINE void write() const { BNN_EACH store(rows[j % R].out + c + j / R * BNN_LANES, v[j]); }
  BNN_INLINE void add_bits(word_t (&bits)[R]) const {
    BNN_EACH bits[j % R] |= negative(v[j]) << (j / R * BNN_LANES);
  }
#undef BNN_EACH
};

// Whether there is nothing but a ReLU between scale and bias and an output: no step to test for.
inline bool is_plain(const Epilogue& e) {
  return (e.out != nullptr || e.bits != nullptr) && e.post_scale == nullptr &&
         e.first_activation <= Activation::kRelu && e.affine_scale == nullptr &&
         e.affine_shift == nullptr && e.residual_at == ResidualAt::kNone &&
         e.second_shift_in == nullptr && e.second_activation == Activation::kNone &&
         e.second_shift_out == nullptr;
}

// Whether the steps are those of a residual block: scale and bias, a batch norm, the residual, and
// nothing but a ReLU.
inline bool is_block_end(const Epilogue& e) {
  return e.out != nullptr && e.post_scale == nullptr && e.first_activation == Activation::kNone &&
         e.residual_at == ResidualAt::kBeforeActivation && e.second_shift_in == nullptr &&
         e.second_activation <= Activation::kRelu && e.second_shift_out == nullptr;
}

// The steps for R pixels with V vectors of channels from c on. Adds their bits to `bits`, if any.
template <int V, bool kPlain, int kPeriod = V * BNN_LANES, int R, typename Sum>
inline void channels(const Epilogue& e, const Row<Sum> (&rows)[R], std::int32_t k, std::size_t c,
                     word_t (&bits)[R]) {
  Block<R, V, kPeriod, Sum> block;
  block.rows = rows;
  block.c = c;
  block.begin(k);
  block.multiply(e.scale);
  block.add(e.bias);
  if (kPlain) {
    if (e.first_activation == Activation::kRelu) block.rectify();
  } else {
    block.multiply(e.post_scale);
    block.activate(e.first_activation, e.first_slope);
    block.affine(e.affine_scale, e.affine_shift);
    if (e.residual_at == ResidualAt::kBeforeActivation) block.add_residual();
    block.add(e.second_shift_in);
    block.activate(e.second_activation, e.second_slope);
    block.add(e.second_shift_out);
    if (e.residual_at == ResidualAt::kAfterActivation) block.add_residual();
  }
  if (e.out != nullptr) block.write();
  if (e.bits == nullptr) return;
  block.affine(e.bit_scale, e.bit_shift);
  block.add_bits(bits);
}

constexpr std::size_t kTail = 16;  // channels

// Fewer than kTail channels: their parameters, copied once to where a whole vector may be read.
struct Tail {
  float copies[kParameterCount][kTail] = {};
  Epilogue epilogue;
  std::size_t first, count;

  Tail(const Epilogue& whole, std::size_t c, std::size_t n) : epilogue(whole), first(c), count(n) {
    for (int i = 0; i < kParameterCount; ++i) {
      const float*& parameter = epilogue.*kParameters[i];
      if (parameter == nullptr) continue;
      __builtin_memcpy(copies[i], parameter + c, n * sizeof(float));
      parameter = copies[i];
    }
  }
  Tail(const Tail&) = delete;

  template <typename Sum>
  word_t run(const Row<Sum>& row, std::int32_t k) const {
    Sum sums[kTail] = {};
    float added[kTail] = {}, result[kTail];
    __builtin_memcpy(sums, row.sums + first, count * sizeof(Sum));
    if (row.residual != nullptr) {
      __builtin_memcpy(added, row.residual + first, count * sizeof(float));
    }
    const Row<Sum> copy[1] = {{sums, row.residual == nullptr ? nullptr : added, result}};
    word_t bits[1] = {0};
    channels<kTail / BNN_LANES, false>(epilogue, copy, k, 0, bits);
    if (row.out != nullptr) __builtin_memcpy(row.out + first, result, count * sizeof(float));
    return bits[0] & ((word_t{1} << count) - 1);
  }
};

}  // namespace
}  // namespace bnn
