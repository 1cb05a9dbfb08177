#include "conv2d/tile.h"

namespace bnn {

bool are_kernel_steps(const Epilogue& e, FloatSteps* steps) {
  const bool first = e.first_activation != Activation::kNone;
  const bool second = e.second_activation != Activation::kNone;
  if (e.scale != nullptr || e.post_scale != nullptr || e.affine_scale != nullptr ||
      e.affine_shift != nullptr || e.second_shift_in != nullptr || e.second_shift_out != nullptr ||
      (first && second)) {
    return false;
  }
  const Activation activation = first ? e.first_activation : e.second_activation;
  if (activation == Activation::kHardtanh) return false;
  steps->bias = e.bias;
  steps->relu = activation == Activation::kRelu;
  if (activation == Activation::kPrelu) steps->slope = first ? e.first_slope : e.second_slope;
  const bool before = !first && e.residual_at == ResidualAt::kBeforeActivation;
  if (e.residual_at != ResidualAt::kNone) {
    (before ? steps->residual_before : steps->residual_after) = e.residual;
  }
  steps->out = e.out;
  steps->bits = e.bits;
  steps->bit_scale = e.bit_scale;
  steps->bit_shift = e.bit_shift;
  return true;
}

}  // namespace bnn
