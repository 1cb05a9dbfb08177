// Weight-only products: chooses the way.
#include "bnn/weight_only.h"

#include "weight_only/product.h"

namespace bnn {

namespace {

// Up to so many pixels, arranging a block's weights costs about as much as using them, so that each
// thread does both for its own blocks.
constexpr std::size_t kFewPixels = 16;

// A group of so few output channels would leave most lanes of a table's kernel empty.
constexpr std::size_t kFewOutputs = 4;

// A 1x1 convolution without padding and stride does not know rows from images.
bool is_pointwise(const ConvShape& s) {
  return s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 &&
         s.pad_top + s.pad_bottom + s.pad_left + s.pad_right == 0;
}

}  // namespace

void weight_only_conv2d(const ConvShape& shape, const float* x, const word_t* weight,
                        const float* scale, const float* bias, float* out, Isa isa) {
  if (shape.batch * shape.out_h() * shape.out_w() == 0 || shape.out_channels == 0) return;
  ConvShape flat = shape;
  if (is_pointwise(shape)) {
    flat.width = shape.batch * shape.height * shape.width;
    flat.batch = flat.height = 1;
  }
  const Product product{flat, x, weight, scale, bias, out, select_weight_only(isa)};
  if (flat.groups > 1 && flat.group_out_channels() <= kFewOutputs) {
    multiply_lanes(product);
  } else if (is_pointwise(flat) && flat.width <= kFewPixels) {
    multiply_few(product);
  } else {
    multiply_rows(product);
  }
}

}  // namespace bnn
