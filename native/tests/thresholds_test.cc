// Bits by comparing counts: on every count equal to those of the epilogue's steps, or refused.
#include "epilogue/thresholds.h"

#include <algorithm>
#include <vector>

#include "bconv2d/plan.h"
#include "naive.h"
#include "steps.h"

namespace bnn::test {
namespace {

// (k + 1, words(channels)): every channel's bits on the counts 0, 1, ... k.
std::vector<word_t> bits_of(Epilogue epilogue, std::size_t channels, std::int32_t k,
                            const Thresholds* thresholds, Isa isa) {
  const std::size_t rows = static_cast<std::size_t>(k) + 1;
  std::vector<word_t> bits(rows * words(channels), ~word_t{0});
  EpilogueTile tile{};
  tile.stride = (words(channels) + 1) * kWordBits;
  // What lies beyond the channels is not theirs, as behind a product.
  std::vector<std::int32_t> counts(rows * tile.stride, k);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t c = 0; c < channels; ++c) {
      counts[i * tile.stride + c] = static_cast<std::int32_t>(i);
    }
  }
  epilogue.bits = bits.data();
  tile.epilogue = &epilogue;
  tile.channels = tile.end = channels;
  tile.m = rows;
  tile.popcounts = counts.data();
  tile.k = k;
  tile.thresholds = thresholds;
  select_epilogue(isa)(tile);
  return bits;
}

bool bit(const std::vector<word_t>& bits, std::size_t row, std::size_t c, std::size_t channels) {
  return (bits[row * words(channels) + c / kWordBits] >> (c % kWordBits) & 1) != 0;
}

// How often the bit of the channel that changes most often does.
std::size_t most_changes(const std::vector<word_t>& bits, std::size_t rows, std::size_t channels) {
  std::size_t most = 0;
  for (std::size_t c = 0; c < channels; ++c) {
    std::size_t changes = 0;
    for (std::size_t i = 1; i < rows; ++i) {
      changes += bit(bits, i, c, channels) != bit(bits, i - 1, c, channels);
    }
    most = std::max(most, changes);
  }
  return most;
}

void every_count(Isa isa) {
  int found = 0, refused = 0;
  const int rounds = effort(300);
  for (int round = 0; round < rounds; ++round) {
    const std::size_t channels =
        random().one_in(2) ? random().between(1, 8) : random().between(9, 200);
    const std::int32_t k = static_cast<std::int32_t>(random().between(0, 150));
    Steps steps;
    draw(steps, channels, 0);
    steps.epilogue.residual_at = ResidualAt::kNone;
    const auto thresholds = find_thresholds(steps.epilogue, channels, k, select_epilogue(isa));
    const auto want = bits_of(steps.epilogue, channels, k, nullptr, isa);
    const std::size_t rows = static_cast<std::size_t>(k) + 1;
    ++(thresholds ? found : refused);
    check(thresholds.has_value() == (most_changes(want, rows, channels) < 2),
          "%zu channels of %d bits: bits change %zu times, and thresholds are%s found", channels, k,
          most_changes(want, rows, channels), thresholds ? "" : " not");
    if (!thresholds) continue;
    const auto got = bits_of(steps.epilogue, channels, k, &*thresholds, isa);
    check(got == want, "%zu channels of %d bits: other bits by comparison", channels, k);
  }
  check(rounds < 50 || (found > rounds / 10 && refused > rounds / 10), "%d found, %d refused",
        found, refused);
}

// A batch norm behind a scale, whose bits change in the midst of the sums: in either direction,
// nowhere, and at sums that are 0.
void batch_norms(Isa isa) {
  constexpr std::size_t kChannels = 300;
  constexpr std::int32_t kBits = 4608;
  std::vector<float> scale(kChannels), bit_scale(kChannels), bit_shift(kChannels);
  for (std::size_t c = 0; c < kChannels; ++c) {
    scale[c] = 0.01f + random().real() * 0.01f;
    bit_scale[c] = c % 7 == 0 ? 0.0f : random().real();
    bit_shift[c] = c % 5 == 0 ? 0.0f : random().real() * 0.5f;
  }
  Epilogue e;
  e.scale = scale.data();
  e.bit_scale = bit_scale.data();
  e.bit_shift = bit_shift.data();
  const auto thresholds = find_thresholds(e, kChannels, kBits, select_epilogue(isa));
  check(thresholds.has_value(), "steps that keep or reverse an order are refused");
  check(
      bits_of(e, kChannels, kBits, &*thresholds, isa) == bits_of(e, kChannels, kBits, nullptr, isa),
      "other bits by comparison");
}

void residuals_are_refused(Isa isa) {
  Epilogue e;
  e.residual_at = ResidualAt::kBeforeActivation;
  check(!find_thresholds(e, 3, 10, select_epilogue(isa)), "a residual is no function of the sum");
}

// Whole convolutions: borders, where fewer bits are compared; groups; filters shared by threads.
void convolutions(Isa isa) {
  int compared = 0;
  const int rounds = effort(200);
  for (int round = 0; round < rounds; ++round) {
    const Threads threads(random().one_in(3) ? 3 : 1);
    const ConvShape s = random().one_in(3)
                            ? linear(random().between(10, 60), random().between(1, 200), 300)
                            : random_conv(random());
    const auto x = packed_rows(random(), s.batch * s.height * s.width, s.channels);
    const auto weight =
        packed_rows(random(), s.out_channels * s.kernel_h * s.kernel_w, s.group_channels());
    const Aligned panel(panel_bytes(s, isa));
    make_panel(s, weight.data(), panel.get(), isa);
    Steps steps;
    draw(steps, s.out_channels, 0);
    Epilogue& e = steps.epilogue;
    e.residual_at = ResidualAt::kNone;
    if (random().one_in(2)) e.first_activation = e.second_activation = Activation::kNone;
    BConv2dPlan plan(s, isa), fast(s, isa);
    compared += fast.compare_counts(e);
    std::vector<word_t> want(s.batch * s.out_h() * s.out_w() * words(s.out_channels)), got(want);
    e.bits = want.data();
    plan.run(x.data(), weight.data(), panel.get(), e);
    e.bits = got.data();
    fast.run(x.data(), weight.data(), panel.get(), e);
    check(got == want, "%s: other bits by comparison", describe(s).c_str());
  }
  check(rounds < 50 || compared > rounds / 10, "only %d convolutions compare", compared);
}

const Registration table([] {
  add_for_each_isa("thresholds", "every_count", every_count);
  add_for_each_isa("thresholds", "batch_norms", batch_norms);
  add_for_each_isa("thresholds", "residuals_are_refused", residuals_are_refused);
  add_for_each_isa("thresholds", "convolutions", convolutions);
});

}  // namespace
}  // namespace bnn::test
