// The gradient kernels in vectors of BNN_LANES floats, as namespace BNN_KERNEL, for files that are
// compiled for one ISA; each of them defines lane_bits. What is selected is selected by masks of
// bits, never by a product, so that infinity and NaN are gone where they are masked.
#pragma once

#include "gradients/gradients.h"

namespace bnn {
namespace {

constexpr std::size_t kLanes = BNN_LANES, kParts = 16;

typedef float Floats __attribute__((vector_size(4 * BNN_LANES)));
typedef std::int32_t Ints __attribute__((vector_size(4 * BNN_LANES)));

constexpr std::int32_t kMagnitude = 0x7fffffff, kOne = 0x3f800000;

template <typename To, typename From>
inline To as(const From& from) {
  To to;
  static_assert(sizeof(to) == sizeof(from));
  __builtin_memcpy(&to, &from, sizeof(to));
  return to;
}

inline Floats load(const float* from) {
  Floats v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

inline void store(float* to, Floats v) { __builtin_memcpy(to, &v, sizeof(v)); }

// Magnitudes are ordered as integers are, and NaN is above infinity.
inline Ints in_clip(Floats x) { return (as<Ints>(x) & kMagnitude) <= kOne; }

// One bit for each lane.
inline word_t lane_bits(Ints mask);

// Elements of one word.
inline std::size_t elements(std::size_t count, std::size_t word) {
  const std::size_t left = count - word * kWordBits;
  return left < kWordBits ? left : kWordBits;
}

inline void clip_words(const float* x, std::size_t count, word_t* out, std::size_t begin,
                       std::size_t end) {
  for (std::size_t w = begin; w < end; ++w) {
    const float* from = x + w * kWordBits;
    const std::size_t n = elements(count, w);
    word_t word = 0;
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) word |= lane_bits(in_clip(load(from + i))) << i;
    for (; i < n; ++i) {
      word |= static_cast<word_t>((as<std::int32_t>(from[i]) & kMagnitude) <= kOne) << i;
    }
    out[w] = word;
  }
}

inline void keep_words(float* x, std::size_t count, const word_t* bits, std::size_t begin,
                       std::size_t end) {
  Ints place;
  for (std::size_t i = 0; i < kLanes; ++i) place[i] = 1 << i;
  for (std::size_t w = begin; w < end; ++w) {
    float* at = x + w * kWordBits;
    const std::size_t n = elements(count, w);
    const word_t word = bits[w];
    if (n == kWordBits && word == ~word_t{0}) continue;
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const Ints lanes = Ints{} + static_cast<std::int32_t>(word >> i);
      const Ints kept = (lanes & place) != 0;
      store(at + i, as<Floats>(as<Ints>(load(at + i)) & kept));
    }
    for (; i < n; ++i) {
      if ((word >> i & 1) == 0) at[i] = 0;
    }
  }
}

inline void sign_rows(const SignedArgs& args, std::size_t begin, std::size_t end) {
  for (std::size_t r = begin; r < end; ++r) {
    const float* x = args.x + r * args.columns;
    float* out = args.out + r * args.columns;
    const float plus = args.scale == nullptr ? 1.0f : args.scale[r];
    const Ints plus_bits = Ints{} + as<std::int32_t>(plus);
    std::size_t i = 0;
    for (; i + kLanes <= args.columns; i += kLanes) {
      const Ints negative = load(x + i) < Floats{};
      store(out + i, as<Floats>(plus_bits ^ (negative & INT32_MIN)));
    }
    for (; i < args.columns; ++i) out[i] = x[i] < 0 ? -plus : plus;
  }
}

// Adds parts in pairs 8, 4, 2 and 1 apart.
inline float sum_of_parts(float (&parts)[kParts]) {
  for (std::size_t apart = kParts / 2; apart > 0; apart /= 2) {
    for (std::size_t j = 0; j < apart; ++j) parts[j] += parts[j + apart];
  }
  return parts[0];
}

// sum_i grad[i] * sign(w[i]) in the order of the API header.
inline float sum_along(const float* w, const float* grad, std::size_t columns) {
  constexpr std::size_t kVectors = kParts / kLanes;
  Floats sums[kVectors] = {};
  std::size_t i = 0;
  for (; i + kParts <= columns; i += kParts) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      const Ints negative = load(w + i + v * kLanes) < Floats{};
      const Ints product = as<Ints>(load(grad + i + v * kLanes)) ^ (negative & INT32_MIN);
      sums[v] += as<Floats>(product);
    }
  }
  float parts[kParts];
  __builtin_memcpy(parts, sums, sizeof(parts));
  for (std::size_t j = 0; i < columns; ++i, ++j) parts[j] += w[i] < 0 ? -grad[i] : grad[i];
  return sum_of_parts(parts);
}

template <bool kMean>
inline void latent_row(const float* w, float* grad, std::size_t columns, float scale, float step) {
  std::size_t i = 0;
  for (; i + kLanes <= columns; i += kLanes) {
    const Floats x = load(w + i);
    const Ints through = as<Ints>(load(grad + i) * scale) & in_clip(x);
    Floats result = as<Floats>(through);
    if (kMean) {
      const Ints positive = x > Floats{}, negative = x < Floats{};
      const Ints steps = Ints{} + as<std::int32_t>(step);
      result += as<Floats>((steps & positive) | ((steps ^ INT32_MIN) & negative));
    }
    store(grad + i, result);
  }
  for (; i < columns; ++i) {
    const bool inside = (as<std::int32_t>(w[i]) & kMagnitude) <= kOne;
    float result = inside ? grad[i] * scale : 0.0f;
    if (kMean) result += w[i] > 0 ? step : w[i] < 0 ? -step : 0.0f;
    grad[i] = result;
  }
}

inline void latent_rows(const LatentArgs& args, std::size_t begin, std::size_t end) {
  for (std::size_t r = begin; r < end; ++r) {
    const float* w = args.weight + r * args.columns;
    float* grad = args.grad + r * args.columns;
    const float scale = args.scale == nullptr ? 1.0f : args.scale[r];
    float along = 0;
    if (args.mean || args.along != nullptr) along = sum_along(w, grad, args.columns);
    if (args.along != nullptr) args.along[r] = along;
    const float step = along / static_cast<float>(args.columns);
    (args.mean ? latent_row<true> : latent_row<false>)(w, grad, args.columns, scale, step);
  }
}

// Writes the gradient of one vector and returns its share of the slope's.
inline Floats prelu_step(const float* x, const float* grad, Floats slope, float* grad_x) {
  const Floats v = load(x), g = load(grad);
  const Ints positive = v > Floats{};
  store(grad_x, as<Floats>((as<Ints>(g) & positive) | (as<Ints>(g * slope) & ~positive)));
  return as<Floats>(as<Ints>(g * v) & ~positive);
}

inline float prelu_step(float x, float grad, float slope, float* grad_x) {
  *grad_x = x > 0 ? grad : grad * slope;
  return x > 0 ? 0.0f : grad * x;
}

inline void prelu_plane(const PReluArgs& args, std::size_t plane) {
  constexpr std::size_t kVectors = kParts / kLanes;
  const std::size_t first = plane * args.pixels, n = args.pixels;
  const float *x = args.x + first, *grad = args.grad + first;
  float* grad_x = args.grad_x + first;
  const float slope = args.slope[plane % args.channels];
  Floats sums[kVectors] = {};
  std::size_t i = 0;
  for (; i + kParts <= n; i += kParts) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t at = i + v * kLanes;
      sums[v] += prelu_step(x + at, grad + at, Floats{} + slope, grad_x + at);
    }
  }
  float parts[kParts];
  __builtin_memcpy(parts, sums, sizeof(parts));
  for (std::size_t j = 0; i < n; ++i, ++j) parts[j] += prelu_step(x[i], grad[i], slope, grad_x + i);
  args.along[plane] = sum_of_parts(parts);
}

inline void prelu_image(const PReluArgs& args, std::size_t image) {
  const std::size_t channels = args.channels, first = image * args.pixels * channels;
  float* along = args.along + image * channels;
  std::size_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    const Floats slope = load(args.slope + c);
    Floats sum = {};
    for (std::size_t p = 0, at = first + c; p < args.pixels; ++p, at += channels) {
      sum += prelu_step(args.x + at, args.grad + at, slope, args.grad_x + at);
    }
    store(along + c, sum);
  }
  for (; c < channels; ++c) {
    float sum = 0;
    for (std::size_t p = 0, at = first + c; p < args.pixels; ++p, at += channels) {
      sum += prelu_step(args.x[at], args.grad[at], args.slope[c], args.grad_x + at);
    }
    along[c] = sum;
  }
}

inline void prelu_parts(const PReluArgs& args, std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < end; ++i) {
    (args.channels_last ? prelu_image : prelu_plane)(args, i);
  }
}

}  // namespace

namespace BNN_KERNEL {

void clip(const float* x, std::size_t count, word_t* out, std::size_t begin, std::size_t end) {
  clip_words(x, count, out, begin, end);
}
void keep(float* x, std::size_t count, const word_t* bits, std::size_t begin, std::size_t end) {
  keep_words(x, count, bits, begin, end);
}
void signs(const SignedArgs& args, std::size_t begin, std::size_t end) {
  sign_rows(args, begin, end);
}
void latent(const LatentArgs& args, std::size_t begin, std::size_t end) {
  latent_rows(args, begin, end);
}
void prelu(const PReluArgs& args, std::size_t begin, std::size_t end) {
  prelu_parts(args, begin, end);
}

}  // namespace BNN_KERNEL

}  // namespace bnn
