// Minimal filtering, 4 tiles and 2 vectors of 4 filters, portable vectors. How: vector.h.
#define BNN_LANES 4
#include "winograd/vector.h"

namespace bnn {
namespace {

inline Floats load_lanes(const float* from, std::size_t begin, std::size_t end) {
  Floats v = {};
  for (std::size_t i = begin; i < end; ++i) v[i] = from[i];
  return v;
}

inline Floats evens(Floats a, Floats b) { return Floats{a[0], a[2], b[0], b[2]}; }
inline Floats odds(Floats a, Floats b) { return Floats{a[1], a[3], b[1], b[3]}; }

}  // namespace

namespace winograd_4x8__portable {

void split(const float* x, std::size_t size, std::size_t pad, std::size_t width, float* out) {
  run_split(x, size, pad, width, out);
}
void transform(const WinogradRow& row) { run_transform(row); }
void multiply(const WinogradTiles& tiles) { run_multiply<4, 2>(tiles); }

}  // namespace winograd_4x8__portable

}  // namespace bnn
