// Float activations with 1-bit weights.
#include "bnn/weight_only.h"

#include <cstdint>

#include "bindings.h"

namespace nb = nanobind;

namespace {

using Address = std::uintptr_t;
using Size = std::size_t;

// The pads come before the groups, as in ConvShape.
void weight_only_conv2d(Address x, Address weight, Address scale, Address bias, Address out,
                        Size batch, Size height, Size width, Size channels, Size out_channels,
                        Size kernel_h, Size kernel_w, Size stride_h, Size stride_w, Size dilation_h,
                        Size dilation_w, Size pad_top, Size pad_bottom, Size pad_left,
                        Size pad_right, Size groups, int pad_value, int isa) {
  const bnn::ConvShape shape{batch,      height,   width,     channels,   out_channels, kernel_h,
                             kernel_w,   stride_h, stride_w,  dilation_h, dilation_w,   pad_top,
                             pad_bottom, pad_left, pad_right, groups,     pad_value};
  bnn::weight_only_conv2d(
      shape, reinterpret_cast<const float*>(x), reinterpret_cast<const bnn::word_t*>(weight),
      reinterpret_cast<const float*>(scale), reinterpret_cast<const float*>(bias),
      reinterpret_cast<float*>(out), static_cast<bnn::Isa>(isa));
}

}  // namespace

void bind_weight_only(nb::module_& m) {
  m.def("weight_only_conv2d", &weight_only_conv2d, nb::call_guard<nb::gil_scoped_release>());
}
