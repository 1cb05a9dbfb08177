// What happens to the sums of a binary convolution before they leave the registers' neighbourhood.
#pragma once

#include "bnn/word.h"

namespace bnn {

enum class Activation : int { kNone = 0, kRelu = 1, kPrelu = 2, kHardtanh = 3 };
enum class ResidualAt : int { kNone = 0, kBeforeActivation = 1, kAfterActivation = 2 };

// The steps, in this order, each a float32 operation that is rounded once; a null pointer leaves
// its step out. c is the output channel; `acc` is the exact sum, converted to float32. fma is
// rounded once, after the sum: torch's batch norm is one. Without its shift it is the product,
// without its scale the sum.
//
//   v = acc
//   v = v * scale[c];  v = v + bias[c];  v = v * post_scale[c]
//   v = first_activation(v)                    PReLU: v < 0 ? v * first_slope[c] : v
//   v = fma(v, affine_scale[c], affine_shift[c])
//   v = v + residual                           if kBeforeActivation
//   v = v + second_shift_in[c]
//   v = second_activation(v)
//   v = v + second_shift_out[c]                (RPReLU is shift, PReLU, shift)
//   v = v + residual                           if kAfterActivation
//   out = v
//   bit = (fma(v, bit_scale[c], bit_shift[c]) < 0)
//
// ReLU and hardtanh keep NaN, as torch does.
struct Epilogue {
  std::int32_t* out_int32 = nullptr;  // if set, acc goes here, and no other step is taken
  float* out = nullptr;               // all outputs are NHWC
  word_t* bits = nullptr;             // (..., words(out_channels))

  const float* scale = nullptr;
  const float* bias = nullptr;
  const float* post_scale = nullptr;
  Activation first_activation = Activation::kNone;
  const float* first_slope = nullptr;
  const float* affine_scale = nullptr;
  const float* affine_shift = nullptr;
  ResidualAt residual_at = ResidualAt::kNone;
  const float* residual = nullptr;  // of the output's shape, NHWC; may be `out` itself
  const float* second_shift_in = nullptr;
  Activation second_activation = Activation::kNone;
  const float* second_slope = nullptr;
  const float* second_shift_out = nullptr;
  const float* bit_scale = nullptr;
  const float* bit_shift = nullptr;
};

}  // namespace bnn
