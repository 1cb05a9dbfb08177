// Windows channel by channel, in vectors of 8, AVX2. How: lanes_vector.h.
#define BNN_LANES 8
#include "conv2d/lanes_vector.h"

namespace bnn {
namespace lanes_8__avx2 {

void depthwise(const FloatTile& tile) { run_tile<Depthwise>(tile); }
void maximum(const FloatTile& tile) { run_tile<Maximum>(tile); }
void mean(const FloatTile& tile) { run_tile<Mean>(tile); }

}  // namespace lanes_8__avx2

}  // namespace bnn
