// The epilogue in vectors of BNN_LANES floats, for files that are compiled for one ISA.
//
// GCC's and Clang's vector types: one source gives every ISA the same operations, each rounded
// once, so all agree to the last bit. 64 channels (one word of bits) stay in registers from the sum
// to the stores; the tests for absent steps are then paid once per 64 channels, not once per
// vector. Everything is in an unnamed namespace: no other file may get code compiled with this
// one's flags.
#include "epilogue/epilogue.h"

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

constexpr const float* Epilogue::*kParameters[] = {
    &Epilogue::scale,           &Epilogue::bias,         &Epilogue::first_slope,
    &Epilogue::affine_scale,    &Epilogue::affine_shift, &Epilogue::second_shift_in,
    &Epilogue::second_slope,    &Epilogue::second_shift_out,
    &Epilogue::bit_scale,       &Epilogue::bit_shift};
constexpr int kParameterCount = sizeof(kParameters) / sizeof(kParameters[0]);

// The same steps with the parameters of channel c and those after it.
inline Epilogue from_channel(Epilogue epilogue, std::size_t c) {
  for (const auto parameter : kParameters) {
    if (epilogue.*parameter != nullptr) epilogue.*parameter += c;
  }
  return epilogue;
}

template <int V>
struct Block {
  Floats v[V];

  void multiply(const float* by) {
    if (by == nullptr) return;
    for (int i = 0; i < V; ++i) v[i] *= load(by + i * BNN_LANES);
  }
  void add(const float* what) {
    if (what == nullptr) return;
    for (int i = 0; i < V; ++i) v[i] += load(what + i * BNN_LANES);
  }
  void activate(Activation activation, const float* slope) {
    const Floats zero = {}, one = zero + 1.0f;
    switch (activation) {
      case Activation::kNone:
        return;
      case Activation::kRelu:
        for (int i = 0; i < V; ++i) v[i] = v[i] < zero ? zero : v[i];
        return;
      case Activation::kPrelu:
        for (int i = 0; i < V; ++i) v[i] = v[i] < zero ? v[i] * load(slope + i * BNN_LANES) : v[i];
        return;
      case Activation::kHardtanh:
        for (int i = 0; i < V; ++i) {
          const Floats low = v[i] < -one ? -one : v[i];
          v[i] = low > one ? one : low;
        }
        return;
    }
  }
};

// V vectors of channels of one pixel. Returns their bits.
template <int V>
inline word_t channels(const Epilogue& e, const std::int32_t* popcounts, std::int32_t k,
                       const float* residual, float* out) {
  Block<V> block;
  for (int i = 0; i < V; ++i) {
    Ints count;
    __builtin_memcpy(&count, popcounts + i * BNN_LANES, sizeof(count));
    block.v[i] = __builtin_convertvector(k - (count + count), Floats);
  }
  block.multiply(e.scale);
  block.add(e.bias);
  block.activate(e.first_activation, e.first_slope);
  block.multiply(e.affine_scale);
  block.add(e.affine_shift);
  if (e.residual_at == ResidualAt::kBeforeActivation) block.add(residual);
  block.add(e.second_shift_in);
  block.activate(e.second_activation, e.second_slope);
  block.add(e.second_shift_out);
  if (e.residual_at == ResidualAt::kAfterActivation) block.add(residual);
  if (out != nullptr) {
    for (int i = 0; i < V; ++i) store(out + i * BNN_LANES, block.v[i]);
  }
  if (e.bits == nullptr) return 0;
  block.multiply(e.bit_scale);
  block.add(e.bit_shift);
  word_t bits = 0;
  for (int i = 0; i < V; ++i) bits |= negative(block.v[i]) << (i * BNN_LANES);
  return bits;
}

constexpr std::size_t kTail = 16;  // channels

// Fewer than kTail channels: their parameters, copied once to where a whole vector may be read.
struct Tail {
  float copies[kParameterCount][kTail] = {};
  Epilogue epilogue;
  std::size_t count;

  Tail(const Epilogue& whole, std::size_t c, std::size_t n)
      : epilogue(from_channel(whole, c)), count(n) {
    for (int i = 0; i < kParameterCount; ++i) {
      const float*& parameter = epilogue.*kParameters[i];
      if (parameter == nullptr) continue;
      __builtin_memcpy(copies[i], parameter, n * sizeof(float));
      parameter = copies[i];
    }
  }
  Tail(const Tail&) = delete;

  word_t run(const std::int32_t* popcounts, std::int32_t k, const float* residual,
             float* out) const {
    std::int32_t counts[kTail] = {};
    float added[kTail] = {}, result[kTail];
    __builtin_memcpy(counts, popcounts, count * sizeof(std::int32_t));
    if (residual != nullptr) __builtin_memcpy(added, residual, count * sizeof(float));
    const word_t bits = channels<kTail / BNN_LANES>(epilogue, counts, k, added, result);
    if (out != nullptr) __builtin_memcpy(out, result, count * sizeof(float));
    return bits & ((word_t{1} << count) - 1);
  }
};

inline void integers(const EpilogueTile& t) {
  for (std::size_t m = 0; m < t.m; ++m) {
    const std::int32_t* counts = t.popcounts + m * t.stride;
    std::int32_t* out = t.epilogue->out_int32 + t.pixels[m] * t.channels;
    for (std::size_t c = 0; c < t.channels; ++c) out[c] = t.k - 2 * counts[c];
  }
}

// Fewer than 64 channels, the last ones: bits of one word.
inline word_t last_channels(const Epilogue& e, const Tail& tail, std::size_t count,
                            const std::int32_t* popcounts, std::int32_t k, const float* residual,
                            float* out) {
  word_t bits = 0;
  for (std::size_t c = 0; c < count; c += kTail) {
    const float* added = residual == nullptr ? nullptr : residual + c;
    float* result = out == nullptr ? nullptr : out + c;
    bits |= (c + kTail <= count ? channels<kTail / BNN_LANES>(from_channel(e, c), popcounts + c, k,
                                                              added, result)
                                : tail.run(popcounts + c, k, added, result))
            << c;
  }
  return bits;
}

inline void floats(const EpilogueTile& t) {
  const std::size_t left = t.channels % kTail;
  const Tail tail(*t.epilogue, t.channels - left, left);
  const std::size_t row_words = words(t.channels);
  for (std::size_t w = 0; w < row_words; ++w) {
    const std::size_t first = w * kWordBits;
    const Epilogue e = from_channel(*t.epilogue, first);
    for (std::size_t m = 0; m < t.m; ++m) {
      const std::int32_t* popcounts = t.popcounts + m * t.stride + first;
      const std::size_t offset = t.pixels[m] * t.channels + first;
      const float* residual = e.residual == nullptr ? nullptr : e.residual + offset;
      float* out = e.out == nullptr ? nullptr : e.out + offset;
      const word_t bits =
          t.channels - first >= kWordBits
              ? channels<kWordBits / BNN_LANES>(e, popcounts, t.k, residual, out)
              : last_channels(e, tail, t.channels - first, popcounts, t.k, residual, out);
      if (e.bits != nullptr) e.bits[t.pixels[m] * row_words + w] = bits;
    }
  }
}

inline void run_tile(const EpilogueTile& tile) {
  if (tile.epilogue->out_int32 != nullptr) return integers(tile);
  floats(tile);
}

}  // namespace
}  // namespace bnn
