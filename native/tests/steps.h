// Random epilogues.
#pragma once

#include <limits>
#include <vector>

#include "bnn/epilogue.h"
#include "check.h"

namespace bnn::test {

using Floats = std::vector<float>;

// Parameters of which some are present, and their memory.
struct Steps {
  Floats scale, bias, post_scale, first_slope, affine_scale, affine_shift, residual,
      second_shift_in, second_slope, second_shift_out, bit_scale, bit_shift;
  Epilogue epilogue;
};

// Mostly tame; sometimes what layers are made of when training went wrong.
inline float parameter() {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kOdd[] = {0.0f,
                            -0.0f,
                            1.0f,
                            -1.0f,
                            1e-45f,
                            -1e-45f,
                            3e38f,
                            -3e38f,
                            kInfinity,
                            -kInfinity,
                            std::numeric_limits<float>::quiet_NaN()};
  if (random().one_in(40)) return kOdd[random().between(0, sizeof(kOdd) / sizeof(float) - 1)];
  return random().real() * 3;
}

inline const float* some(Floats& values, std::size_t count, std::size_t one_in = 2) {
  if (!random().one_in(one_in)) return nullptr;
  values.resize(count);
  for (float& value : values) value = parameter();
  return values.data();
}

inline void draw(Steps& s, std::size_t channels, std::size_t outputs) {
  Epilogue& e = s.epilogue;
  e.scale = some(s.scale, channels);
  e.bias = some(s.bias, channels);
  e.post_scale = some(s.post_scale, channels);
  e.first_activation = static_cast<Activation>(random().between(0, 3));
  if (e.first_activation == Activation::kPrelu) e.first_slope = some(s.first_slope, channels, 1);
  e.affine_scale = some(s.affine_scale, channels);
  e.affine_shift = some(s.affine_shift, channels);
  e.residual_at = static_cast<ResidualAt>(random().between(0, 2));
  if (e.residual_at != ResidualAt::kNone) e.residual = some(s.residual, outputs, 1);
  e.second_shift_in = some(s.second_shift_in, channels, 3);
  e.second_activation = static_cast<Activation>(random().between(0, 3));
  if (e.second_activation == Activation::kPrelu) e.second_slope = some(s.second_slope, channels, 1);
  e.second_shift_out = some(s.second_shift_out, channels, 3);
  e.bit_scale = some(s.bit_scale, channels);
  e.bit_shift = some(s.bit_shift, channels);
}

}  // namespace bnn::test
