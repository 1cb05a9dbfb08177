// Depthwise convolution, 64 channels at once, compiled for avx512vpopcntdq. How: depthwise.h.
#include "bconv2d/depthwise.h"

namespace bnn::bdepthwise_64__avx512vpopcntdq {

void tile(const TileArgs& args) { depthwise_tile(args); }

}  // namespace bnn::bdepthwise_64__avx512vpopcntdq
