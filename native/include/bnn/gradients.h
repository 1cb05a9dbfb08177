// What a training step does beside its products: the mask of the straight-through estimator as
// bits, float signs for the backward pass, the gradient of a latent weight, and that of PReLU.
#pragma once

#include <cstddef>

#include "bnn/isa.h"
#include "bnn/word.h"

namespace bnn {

// Bit i of `out` = (|x[i]| <= 1), which NaN is not. words(count) words; pad bits are written as 0.
void clip_bits(const float* x, std::size_t count, word_t* out, Isa isa);

// x[i] = 0 where bit i is 0, whatever x[i] was: infinity and NaN too.
void keep_bits(float* x, std::size_t count, const word_t* bits, Isa isa);

// out[r][i] = scale[r] where x[r][i] is +1 by the convention of word.h, else -scale[r].
struct SignedArgs {
  const float* x;  // (rows, columns)
  std::size_t rows, columns;
  const float* scale;  // (rows), or null for 1
  float* out;          // (rows, columns); may be x
};
void write_signs(const SignedArgs& args, Isa isa);

// The gradient of a latent weight w whose filter r was used as scale[r] * sign(w), from the
// gradient `grad` of the filter without its scale:
//
//   along[r]   = sum_i grad[r][i] * sign(w[r][i])
//   grad[r][i] = (|w[r][i]| <= 1 ? grad[r][i] * scale[r] : 0)
//                + (mean ? sgn(w[r][i]) * (along[r] / columns) : 0)
//
// sgn(0) = sgn(NaN) = 0. The sum is taken in 16 parts, of the columns that are equal modulo 16,
// each in rising order; then the parts are added in pairs 8, 4, 2 and 1 apart. So all ISAs agree.
struct LatentArgs {
  const float* weight;  // (rows, columns)
  std::size_t rows, columns;
  const float* scale;  // (rows), or null for 1
  bool mean;           // the scale is the mean of |w|, and the gradient goes through it
  float* grad;         // (rows, columns), changed in place
  float* along;        // (rows), or null
};
void latent_gradient(const LatentArgs& args, Isa isa);

// The gradients of PReLU, y = x > 0 ? x : slope[c] * x:
//
//   grad_x       = x > 0 ? grad : slope[c] * grad
//   along[n][c]  = sum over pixels of (x > 0 ? 0 : grad * x)
//
// The sum is taken as that of LatentArgs over the pixels, or, if channels_last, in their order.
struct PReluArgs {
  const float* x;  // (batch, channels, pixels), or (batch, pixels, channels) if channels_last
  std::size_t batch, channels, pixels;
  bool channels_last;
  const float* slope;  // (channels)
  const float* grad;   // as x
  float* grad_x;       // as x; may be grad
  float* along;        // (batch, channels)
};
void prelu_gradient(const PReluArgs& args, Isa isa);

}  // namespace bnn
