// Binary convolution and its panel.
#include "bnn/bconv2d.h"

#include <cstdint>

#include "conv_arguments.h"

namespace nb = nanobind;

namespace {

void bconv2d(SHAPE_PARAMETERS, Address x, Address weight, Address panel, Address out_int32,
             Address out, Address bits, Address scale, Address bias, Address post_scale,
             int first_activation, Address first_slope, Address affine_scale, Address affine_shift,
             int residual_at, Address residual, Address second_shift_in, int second_activation,
             Address second_slope, Address second_shift_out, Address bit_scale, Address bit_shift,
             int isa) {
  bnn::Epilogue e;
  e.out_int32 = at<std::int32_t>(out_int32);
  e.out = at<float>(out);
  e.bits = at<bnn::word_t>(bits);
  e.scale = at<float>(scale);
  e.bias = at<float>(bias);
  e.post_scale = at<float>(post_scale);
  e.first_activation = static_cast<bnn::Activation>(first_activation);
  e.first_slope = at<float>(first_slope);
  e.affine_scale = at<float>(affine_scale);
  e.affine_shift = at<float>(affine_shift);
  e.residual_at = static_cast<bnn::ResidualAt>(residual_at);
  e.residual = at<float>(residual);
  e.second_shift_in = at<float>(second_shift_in);
  e.second_activation = static_cast<bnn::Activation>(second_activation);
  e.second_slope = at<float>(second_slope);
  e.second_shift_out = at<float>(second_shift_out);
  e.bit_scale = at<float>(bit_scale);
  e.bit_shift = at<float>(bit_shift);
  bnn::bconv2d(SHAPE, at<bnn::word_t>(x), at<bnn::word_t>(weight), at<void>(panel), e, isa_of(isa));
}

}  // namespace

void bind_bconv2d(nb::module_& m) {
  using Release = nb::call_guard<nb::gil_scoped_release>;
  m.def("bconv2d", &bconv2d, Release());
  m.def("panel_bytes",
        [](SHAPE_PARAMETERS, int isa) { return bnn::panel_bytes(SHAPE, isa_of(isa)); });
  m.def(
      "make_panel",
      [](SHAPE_PARAMETERS, Address weight, Address panel, int isa) {
        bnn::make_panel(SHAPE, at<bnn::word_t>(weight), at<void>(panel), isa_of(isa));
      },
      Release());
  m.def("panel_fits", [](SHAPE_PARAMETERS, Address panel, std::size_t bytes, int isa) {
    return bnn::panel_fits(SHAPE, at<void>(panel), bytes, isa_of(isa));
  });
  m.def("bconv2d_kernel",
        [](SHAPE_PARAMETERS, int isa) { return bnn::bconv2d_kernel(SHAPE, isa_of(isa)); });
}
