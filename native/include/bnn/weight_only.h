// Float activations with 1-bit weights: y = scale[o] * sum(x * sign(w)) + bias[o], in float32.
#pragma once

#include "bnn/bconv2d.h"

namespace bnn {

// x: (batch, height, width, channels) floats; weight: (out_channels, kernel_h, kernel_w,
// words(channels / groups)); out: (batch, out_h, out_w, out_channels). pad_value must be 0.
// scale and bias may be null. A linear layer is a 1x1 convolution of 1x1 images.
void weight_only_conv2d(const ConvShape& shape, const float* x, const word_t* weight,
                        const float* scale, const float* bias, float* out, Isa isa);

}  // namespace bnn
