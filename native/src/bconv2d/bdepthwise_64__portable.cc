// Depthwise convolution, 64 channels at once, compiled for portable. How: depthwise.h.
#include "bconv2d/depthwise.h"

namespace bnn::bdepthwise_64__portable {

void tile(const TileArgs& args) { depthwise_tile(args); }

}  // namespace bnn::bdepthwise_64__portable
