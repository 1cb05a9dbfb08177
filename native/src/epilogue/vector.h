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

// Defined by each file: v * scale + shift, rounded once.
inline Floats fused(Floats v, Floats scale, Floats shift);

constexpr const float* Epilogue::* kParameters[] = {
    &Epilogue::scale,           &Epilogue::bias,         &Epilogue::post_scale,
    &Epilogue::first_slope,     &Epilogue::affine_scale, &Epilogue::affine_shift,
    &Epilogue::second_shift_in, &Epilogue::second_slope, &Epilogue::second_shift_out,
    &Epilogue::bit_scale,       &Epilogue::bit_shift};
constexpr int kParameterCount = sizeof(kParameters) / sizeof(kParameters[0]);

// V vectors of channels, from channel c of the parameters on. After every kPeriod channels the next
// pixel's begin.
template <int V, int kPeriod = V * BNN_LANES>
struct Block {
  Floats v[V];
  std::size_t c;

  Floats of(const float* parameter, int i) const {
    return load(parameter + c + i * BNN_LANES % kPeriod);
  }
  void multiply(const float* by) {
    if (by == nullptr) return;
    for (int i = 0; i < V; ++i) v[i] *= of(by, i);
  }
  void add(const float* what) {
    if (what == nullptr) return;
    for (int i = 0; i < V; ++i) v[i] += of(what, i);
  }
  void add_residual(const float* values) {
    for (int i = 0; i < V; ++i) v[i] += load(values + c + i * BNN_LANES);
  }
  void affine(const float* scale, const float* shift) {
    if (scale == nullptr) return add(shift);
    if (shift == nullptr) return multiply(scale);
    for (int i = 0; i < V; ++i) v[i] = fused(v[i], of(scale, i), of(shift, i));
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
        for (int i = 0; i < V; ++i) {
          v[i] = v[i] < zero ? v[i] * of(slope, i) : v[i];
        }
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

// Where one pixel's values are: those of channel 0, also where a tile begins at another. Sum is
// std::int32_t for counted bits, float for float sums.
template <typename Sum>
struct Row {
  const Sum* sums;
  const float* residual;  // or null
  float* out;             // or null

  Row(const EpilogueTile& t, const Sum* first, std::size_t m)
      : sums(first + m * t.stride - t.begin) {
    const std::size_t offset = t.pixel(m) * t.channels;
    residual = t.epilogue->residual == nullptr ? nullptr : t.epilogue->residual + offset;
    out = t.epilogue->out == nullptr ? nullptr : t.epilogue->out + offset;
  }
  Row(const Sum* values, const float* added, float* result)
      : sums(values), residual(added), out(result) {}
};

inline Floats start(const std::int32_t* popcounts, std::int32_t k) {
  Ints count;
  __builtin_memcpy(&count, popcounts, sizeof(count));
  return __builtin_convertvector(k - (count + count), Floats);
}

inline Floats start(const float* values, std::int32_t) { return load(values); }

// Whether there is nothing but a ReLU between scale and bias and the output: no step to test for.
inline bool is_plain(const Epilogue& e) {
  return e.post_scale == nullptr && e.first_activation <= Activation::kRelu &&
         e.affine_scale == nullptr && e.affine_shift == nullptr &&
         e.residual_at == ResidualAt::kNone && e.second_shift_in == nullptr &&
         e.second_activation == Activation::kNone && e.second_shift_out == nullptr;
}

// The steps for V vectors of channels from c on. Returns their bits.
template <int V, bool kPlain, int kPeriod = V * BNN_LANES, typename Sum>
inline word_t channels(const Epilogue& e, const Row<Sum>& row, std::int32_t k, std::size_t c) {
  Block<V, kPeriod> block;
  block.c = c;
  for (int i = 0; i < V; ++i) block.v[i] = start(row.sums + c + i * BNN_LANES, k);
  block.multiply(e.scale);
  block.add(e.bias);
  if (kPlain) {
    if (e.first_activation == Activation::kRelu) block.activate(Activation::kRelu, nullptr);
  } else {
    block.multiply(e.post_scale);
    block.activate(e.first_activation, e.first_slope);
    block.affine(e.affine_scale, e.affine_shift);
    if (e.residual_at == ResidualAt::kBeforeActivation) block.add_residual(row.residual);
    block.add(e.second_shift_in);
    block.activate(e.second_activation, e.second_slope);
    block.add(e.second_shift_out);
    if (e.residual_at == ResidualAt::kAfterActivation) block.add_residual(row.residual);
  }
  if (row.out != nullptr) {
    for (int i = 0; i < V; ++i) store(row.out + c + i * BNN_LANES, block.v[i]);
  }
  if (e.bits == nullptr) return 0;
  block.affine(e.bit_scale, e.bit_shift);
  word_t bits = 0;
  for (int i = 0; i < V; ++i) bits |= negative(block.v[i]) << (i * BNN_LANES);
  return bits;
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
    const Row<Sum> copy(sums, row.residual == nullptr ? nullptr : added, result);
    const word_t bits = channels<kTail / BNN_LANES, false>(epilogue, copy, k, 0);
    if (row.out != nullptr) __builtin_memcpy(row.out + first, result, count * sizeof(float));
    return bits & ((word_t{1} << count) - 1);
  }
};

inline void integers(const EpilogueTile& t) {
  for (std::size_t m = 0; m < t.m; ++m) {
    const std::int32_t* popcounts = t.popcounts + m * t.stride;
    std::int32_t* out = t.epilogue->out_int32 + t.pixel(m) * t.channels + t.begin;
    for (std::size_t c = 0; c < t.end - t.begin; ++c) out[c] = t.k - 2 * popcounts[c];
  }
}

inline void put(const EpilogueTile& t, std::size_t m, std::size_t channel, word_t bits) {
  if (t.epilogue->bits == nullptr) return;
  t.epilogue->bits[t.pixel(m) * words(t.channels) + channel / kWordBits] = bits;
}

// Adds the last bits of a word.
inline void add(const EpilogueTile& t, std::size_t m, std::size_t channel, word_t bits) {
  if (t.epilogue->bits == nullptr) return;
  t.epilogue->bits[t.pixel(m) * words(t.channels) + channel / kWordBits] |= bits;
}

// The last channels, fewer than 64.
template <bool kPlain, typename Sum>
inline void last_channels(const EpilogueTile& t, const Epilogue& e, const Sum* sums,
                          std::size_t first) {
  const std::size_t left = (t.end - first) % kTail, whole = t.end - left;
  for (std::size_t m = 0; m < t.m && first < whole; ++m) {
    const Row<Sum> row(t, sums, m);
    word_t bits = 0;
    for (std::size_t c = first; c < whole; c += kTail) {
      bits |= channels<kTail / BNN_LANES, kPlain>(e, row, t.k, c) << (c - first);
    }
    put(t, m, first, bits);
  }
  if (left == 0) return;
  const Tail tail(e, whole, left);
  for (std::size_t m = 0; m < t.m; ++m) {
    const word_t bits = tail.run(Row<Sum>(t, sums, m), t.k) << (whole - first);
    if (first < whole) {
      add(t, m, first, bits);
    } else {
      put(t, m, first, bits);
    }
  }
}

// Pixel by pixel, so that stores go to consecutive lines.
template <bool kPlain, typename Sum>
void floats(const EpilogueTile& t, const Sum* sums) {
  const std::size_t whole = t.begin + (t.end - t.begin) / kWordBits * kWordBits;
  const Epilogue e = *t.epilogue;  // a copy: stores to `out` cannot change it
  for (std::size_t m = 0; m < t.m && t.begin < whole; ++m) {
    const Row<Sum> row(t, sums, m);
    for (std::size_t c = t.begin; c < whole; c += kWordBits) {
      put(t, m, c, channels<kWordBits / BNN_LANES, kPlain>(e, row, t.k, c));
    }
  }
  if (whole < t.end) last_channels<kPlain>(t, e, sums, whole);
}

// Pixels of kChannels channels, side by side in every tensor: 64 channels of several are as one's.
template <bool kPlain, int kChannels>
void narrow_floats(const EpilogueTile& t) {
  constexpr std::size_t kPixels = kWordBits / kChannels;
  const Epilogue e = *t.epilogue;
  std::size_t m = 0;
  for (; m + kPixels <= t.m; m += kPixels) {
    const Row<float> row(t, t.values, m);
    const word_t bits = channels<kWordBits / BNN_LANES, kPlain, kChannels>(e, row, t.k, 0);
    for (std::size_t i = 0; i < kPixels; ++i) {
      put(t, m + i, 0, bits >> (i * kChannels) & valid_bits(kChannels, 0));
    }
  }
  EpilogueTile last = t;
  last.pixels = nullptr;
  last.first_pixel = t.first_pixel + m;
  last.values = t.values + m * kChannels;
  last.m = t.m - m;
  last_channels<kPlain>(last, e, last.values, 0);
}

inline bool is_narrow(const EpilogueTile& t, std::size_t channels) {
  return t.channels == channels && t.stride == channels && t.pixels == nullptr;
}

template <bool kPlain>
void float_steps(const EpilogueTile& t) {
  if (is_narrow(t, 16)) return narrow_floats<kPlain, 16>(t);
  if (is_narrow(t, 32)) return narrow_floats<kPlain, 32>(t);
  floats<kPlain>(t, t.values);
}

inline void run_tile(const EpilogueTile& tile) {
  const bool plain = is_plain(*tile.epilogue);
  if (tile.values != nullptr) return plain ? float_steps<true>(tile) : float_steps<false>(tile);
  if (tile.epilogue->out_int32 != nullptr) return integers(tile);
  plain ? floats<true>(tile, tile.popcounts) : floats<false>(tile, tile.popcounts);
}

}  // namespace
}  // namespace bnn
