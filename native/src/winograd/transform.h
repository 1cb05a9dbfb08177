// The minimal filtering of a 7-tap convolution with stride 2, along one axis.
//
// The even inputs meet the even taps (4 of them) and the odd inputs the odd taps (3): two
// convolutions of stride 1 whose sums are added. Toom and Cook compute kTile outputs of each at the
// points 0, 1, -1, -2, 1/2, -1/2 (only the 4 taps) and infinity,
//
//   y = AT [(G4 g4) * (BT4 x4) + (G3 g3) * (BT3 x3)],
//
// where * is element by element: at a point, both add up to one product, so one AT serves both.
// G is here; BT and AT are in vector.h, as sums that their rows share.
#pragma once

#include <cstddef>

namespace bnn {

struct Winograd {
  static constexpr int kTile = 4;     // outputs
  static constexpr int kPoints = 7;   // inputs of the 4 taps, and products
  static constexpr int kMissing = 5;  // the point that the 3 taps do without

  static constexpr double kG4[kPoints][4] = {
      {2, 0, 0, 0},
      {2.0 / 9, 2.0 / 9, 2.0 / 9, 2.0 / 9},
      {2.0 / 3, -2.0 / 3, 2.0 / 3, -2.0 / 3},
      {-2.0 / 45, 4.0 / 45, -8.0 / 45, 16.0 / 45},
      {-16.0 / 15, -8.0 / 15, -4.0 / 15, -2.0 / 15},
      {-16.0 / 9, 8.0 / 9, -4.0 / 9, 2.0 / 9},
      {0, 0, 0, 1},
  };
  // Of the points without the missing one.
  static constexpr double kG3[kPoints - 1][3] = {
      {1, 0, 0},
      {1.0 / 3, 1.0 / 3, 1.0 / 3},
      {-1.0 / 3, 1.0 / 3, -1.0 / 3},
      {1.0 / 15, -2.0 / 15, 4.0 / 15},
      {-16.0 / 15, -8.0 / 15, -4.0 / 15},
      {0, 0, 1},
  };

  // The points of a parity: 0 for the even inputs, 1 for the odd ones.
  static constexpr int points(int parity) { return kPoints - parity; }
  static constexpr int point(int parity, int i) { return i + (parity == 1 && i >= kMissing); }
  static constexpr int parities(int i) { return i == kMissing ? 1 : 2; }

  // Products of a tile for one channel: (kPoints + (kPoints - 1))^2.
  static constexpr std::size_t kRows = (2 * kPoints - 1) * (2 * kPoints - 1);
};

}  // namespace bnn
