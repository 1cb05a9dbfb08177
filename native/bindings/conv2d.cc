// Panels of float convolutions; the operation itself is one of programs.
#include "bnn/conv2d.h"

#include <cstdint>

#include "bindings.h"

namespace nb = nanobind;

namespace {

using Address = std::uintptr_t;

bnn::Isa isa_of(int isa) { return static_cast<bnn::Isa>(isa); }

// clang-format off
#define SHAPE_PARAMETERS                                                                       \
  std::size_t batch, std::size_t height, std::size_t width, std::size_t channels,              \
  std::size_t out_channels, std::size_t kernel_h, std::size_t kernel_w, std::size_t stride_h,  \
  std::size_t stride_w, std::size_t dilation_h, std::size_t dilation_w, std::size_t pad_top,   \
  std::size_t pad_bottom, std::size_t pad_left, std::size_t pad_right, std::size_t groups,     \
  int pad_value
#define SHAPE                                                                                  \
  bnn::ConvShape{batch, height, width, channels, out_channels, kernel_h, kernel_w, stride_h,   \
                 stride_w, dilation_h, dilation_w, pad_top, pad_bottom, pad_left, pad_right,   \
                 groups, pad_value}
// clang-format on

}  // namespace

void bind_conv2d(nb::module_& m) {
  m.def("conv2d_panel_bytes",
        [](SHAPE_PARAMETERS, int isa) { return bnn::conv2d_panel_bytes(SHAPE, isa_of(isa)); });
  m.def(
      "make_conv2d_panel",
      [](SHAPE_PARAMETERS, Address weight, Address panel, int isa) {
        bnn::make_conv2d_panel(SHAPE, reinterpret_cast<const float*>(weight),
                               reinterpret_cast<void*>(panel), isa_of(isa));
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def("conv2d_kernel",
        [](SHAPE_PARAMETERS, int isa) { return bnn::conv2d_kernel(SHAPE, isa_of(isa)); });
}
