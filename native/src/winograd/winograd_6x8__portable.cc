// Minimal filtering, blocks of 2 vectors of 4 filters, portable vectors. How: vector.h.
#define BNN_LANES 4
#include "winograd/vector.h"

namespace bnn {
namespace {

inline Floats multiply_add(Floats a, Floats b, Floats sum) { return sum + a * b; }

}  // namespace

namespace winograd_6x8__portable {

void transform(const WinogradRow& row) { run_transform(row); }
void multiply(const WinogradTiles& tiles) { multiply_of<kWinogradTiles, 2>(tiles); }

}  // namespace winograd_6x8__portable

}  // namespace bnn
