// The minimal filtering of a 7-tap convolution with stride 2, along one axis.
//
// The even inputs meet the even taps (4 of them) and the odd inputs the odd taps (3): two
// convolutions of stride 1 whose sums are added. Toom and Cook compute kTile outputs of each at the
// points 0, 1, -1, 2, -1/2 (only the 4 taps) and infinity,
//
//   y = AT [(G4 g4) * (BT4 x4) + (G3 g3) * (BT3 x3)],
//
// where * is element by element: at a point, both add up to one product, so one AT serves both.
#pragma once

#include <cstddef>

namespace bnn {

struct Winograd {
  static constexpr int kTile = 3;     // outputs
  static constexpr int kPoints = 6;   // inputs of the 4 taps, and products
  static constexpr int kMissing = 4;  // the point that the 3 taps do without

  static constexpr float kAT[kTile][kPoints] = {
      {1, 1, 1, 1, 1, 0},
      {0, 1, -1, 2, -0.5f, 0},
      {0, 1, 1, 4, 0.25f, 1},
  };
  static constexpr float kBT4[kPoints][kPoints] = {
      {2, 3, -4, -3, 2, 0},      //
      {0, 2, 5, 1, -2, 0},       //
      {0, 2, 1, -5, 2, 0},       //
      {0, -1, -2, 1, 2, 0},      //
      {0, -32, 16, 32, -16, 0},  //
      {0, 2, 3, -4, -3, 2},
  };
  static constexpr double kG4[kPoints][4] = {
      {1.0 / 2, 0, 0, 0},
      {1.0 / 6, 1.0 / 6, 1.0 / 6, 1.0 / 6},
      {1.0 / 6, -1.0 / 6, 1.0 / 6, -1.0 / 6},
      {1.0 / 30, 1.0 / 15, 2.0 / 15, 4.0 / 15},
      {1.0 / 15, -1.0 / 30, 1.0 / 60, -1.0 / 120},
      {0, 0, 0, 1.0 / 2},
  };
  // Of the points without the missing one.
  static constexpr float kBT3[kPoints - 1][kPoints - 1] = {
      {2, -1, -2, 1, 0},  //
      {0, 2, 1, -1, 0},   //
      {0, -2, 3, -1, 0},  //
      {0, -1, 0, 1, 0},   //
      {0, 2, -1, -2, 1},
  };
  static constexpr double kG3[kPoints - 1][3] = {
      {1.0 / 2, 0, 0},
      {1.0 / 2, 1.0 / 2, 1.0 / 2},
      {1.0 / 6, -1.0 / 6, 1.0 / 6},
      {1.0 / 6, 1.0 / 3, 2.0 / 3},
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
