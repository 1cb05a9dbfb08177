// Float activations with 1-bit weights, against sums in double precision. The order of additions is
// the kernel's, so a result may differ by what rounding can add up to, and by no more.
#include "bnn/weight_only.h"

#include <cfloat>
#include <cmath>
#include <vector>

#include "naive.h"

namespace bnn::test {
namespace {

void compare(const ConvShape& s, Isa isa) {
  std::vector<float> x(s.batch * s.height * s.width * s.channels);
  for (float& v : x) v = random().one_in(10) ? 0.0f : random().real() * 10;
  const std::size_t taps = s.kernel_h * s.kernel_w;
  const auto weight = packed_rows(random(), s.out_channels * taps, s.group_channels());
  std::vector<float> scale(s.out_channels), bias(s.out_channels);
  for (float& v : scale) v = random().real();
  for (float& v : bias) v = random().real();
  const bool scaled = random().one_in(2), biased = random().one_in(2);
  const std::vector<FloatSum> want = naive_weight_only(s, x.data(), weight.data());
  std::vector<float> got(want.size(), 99.0f);
  weight_only_conv2d(s, x.data(), weight.data(), scaled ? scale.data() : nullptr,
                     biased ? bias.data() : nullptr, got.data(), isa);
  // n additions of rounded sums, each of at most the magnitude; twice that where a kernel adds
  // everything and subtracts what is negative two times.
  const double terms = static_cast<double>(taps * s.group_channels()) + 4;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double by = scaled ? scale[i % s.out_channels] : 1;
    const double plus = biased ? bias[i % s.out_channels] : 0;
    const double exact = want[i].sum * by + plus;
    const double bound =
        2 * terms * FLT_EPSILON * (want[i].magnitude * std::fabs(by) + std::fabs(plus));
    check(std::fabs(got[i] - exact) <= bound, "%s: output %zu is %.9g, not %.9g (+- %.2g)",
          describe(s).c_str(), i, got[i], exact, bound);
  }
}

void random_shapes(Isa isa) {
  for (int round = 0; round < effort(300); ++round) {
    const Threads restore(random().one_in(3) ? 3 : 1);
    ConvShape s = random_conv(random());
    s.pad_value = 0;
    compare(s, isa);
  }
}

void linear_layers(Isa isa) {
  for (int round = 0; round < effort(80); ++round) {
    const Threads restore(random().one_in(3) ? 3 : 1);
    const std::size_t rows = random().pick({0, 1, 2, 3, 5, 8, 16, 33});
    compare(linear(rows, random().between(1, 1500), random().between(1, 200)), isa);
  }
}

// Activations that are small integers have exact sums in any order.
void integers_are_exact(Isa isa) {
  for (int round = 0; round < effort(100); ++round) {
    ConvShape s = random_conv(random());
    s.pad_value = 0;
    std::vector<float> x(s.batch * s.height * s.width * s.channels);
    for (float& v : x) v = static_cast<float>(random().between(0, 200)) - 100;
    const auto weight =
        packed_rows(random(), s.out_channels * s.kernel_h * s.kernel_w, s.group_channels());
    const std::vector<FloatSum> want = naive_weight_only(s, x.data(), weight.data());
    std::vector<float> got(want.size(), 99.0f);
    weight_only_conv2d(s, x.data(), weight.data(), nullptr, nullptr, got.data(), isa);
    for (std::size_t i = 0; i < want.size(); ++i) {
      check(got[i] == want[i].sum, "%s: output %zu is %.9g, not %.9g", describe(s).c_str(), i,
            got[i], want[i].sum);
    }
  }
}

// An infinity in one channel gives infinities, as it does in torch, and touches no other row.
void infinities(Isa isa) {
  for (const std::size_t channels : {1, 7, 64, 100, 513}) {
    const ConvShape s = linear(5, channels, 37);
    std::vector<float> x(s.batch * channels, 0.5f);
    x[2 * channels + channels / 2] = INFINITY;
    const auto weight = packed_rows(random(), s.out_channels, channels);
    std::vector<float> got(s.batch * s.out_channels, 99.0f);
    weight_only_conv2d(s, x.data(), weight.data(), nullptr, nullptr, got.data(), isa);
    for (std::size_t i = 0; i < got.size(); ++i) {
      const std::size_t row = i / s.out_channels, o = i % s.out_channels;
      const int sign = value(&weight[o * words(channels)], channels / 2);
      check(row == 2 ? got[i] == sign * INFINITY : std::isfinite(got[i]),
            "%zu channels: row %zu, output %zu is %g", channels, row, o, got[i]);
    }
  }
}

const Registration table([] {
  add_for_each_isa("weight_only", "random_shapes", random_shapes);
  add_for_each_isa("weight_only", "linear_layers", linear_layers);
  add_for_each_isa("weight_only", "integers_are_exact", integers_are_exact);
  add_for_each_isa("weight_only", "infinities", infinities);
});

}  // namespace
}  // namespace bnn::test
