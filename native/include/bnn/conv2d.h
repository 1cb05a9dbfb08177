// Float convolution: the stem, the shortcuts and the head of a binary network.
#pragma once

#include "bnn/bconv2d.h"

namespace bnn {

// Kernels read the weight from a panel: the same floats in the order in which they are used, for
// one ISA. It may lie anywhere; at a multiple of 64 bytes it is read fastest.
std::size_t conv2d_panel_bytes(const ConvShape& shape, Isa isa);

// weight: (out_channels, kernel_h, kernel_w, channels / groups).
void make_conv2d_panel(const ConvShape& shape, const float* weight, void* panel, Isa isa);

// x: (batch, height, width, channels), or (batch, channels, height, width) if x_nchw. pad_value
// must be 0. The epilogue begins with the sum in place of `acc`; of its outputs, out_int32 is not
// written. In what order the sum's terms are added, and whether they are fused with their products,
// differs between ISAs.
void conv2d(const ConvShape& shape, bool x_nchw, const float* x, const void* panel,
            const Epilogue& epilogue, Isa isa);

// The kernel that conv2d takes.
const char* conv2d_kernel(const ConvShape& shape, Isa isa);

}  // namespace bnn
