// Windows channel by channel, in vectors of 4, portable vectors. How: lanes_vector.h.
#define BNN_LANES 4
#include "conv2d/lanes_vector.h"

namespace bnn {
namespace lanes_4__portable {

void depthwise(const FloatTile& tile) { run_tile<Depthwise>(tile); }
void maximum(const FloatTile& tile) { run_tile<Maximum>(tile); }
void mean(const FloatTile& tile) { run_tile<Mean>(tile); }

}  // namespace lanes_4__portable

}  // namespace bnn
