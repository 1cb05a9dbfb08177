// Panels of float convolutions; the operation itself is one of programs.
#include "bnn/conv2d.h"

#include "conv_arguments.h"

namespace nb = nanobind;

void bind_conv2d(nb::module_& m) {
  m.def("conv2d_panel_bytes",
        [](SHAPE_PARAMETERS, int isa) { return bnn::conv2d_panel_bytes(SHAPE, isa_of(isa)); });
  m.def(
      "make_conv2d_panel",
      [](SHAPE_PARAMETERS, Address weight, Address panel, int isa) {
        bnn::make_conv2d_panel(SHAPE, at<const float>(weight), at<void>(panel), isa_of(isa));
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def("conv2d_kernel",
        [](SHAPE_PARAMETERS, int isa) { return bnn::conv2d_kernel(SHAPE, isa_of(isa)); });
}
