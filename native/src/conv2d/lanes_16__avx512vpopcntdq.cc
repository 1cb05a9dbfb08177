// Windows channel by channel, in vectors of 16, AVX-512. How: lanes_vector.h.
#define BNN_LANES 16
#include "conv2d/lanes_vector.h"

namespace bnn {
namespace lanes_16__avx512vpopcntdq {

void depthwise(const FloatTile& tile) { run_tile<Depthwise>(tile); }
void maximum(const FloatTile& tile) { run_tile<Maximum>(tile); }
void mean(const FloatTile& tile) { run_tile<Mean>(tile); }

}  // namespace lanes_16__avx512vpopcntdq

}  // namespace bnn
