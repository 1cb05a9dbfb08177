// The steps after the sums, written once more from the text of bnn/epilogue.h: for every ISA equal
// to the last bit, for each step is one rounded float32 operation.
#include "bnn/epilogue.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "naive.h"
#include "steps.h"

namespace bnn::test {
namespace {

float activate(float v, Activation activation, const float* slope, std::size_t c) {
  switch (activation) {
    case Activation::kRelu:
      return v < 0 ? 0 : v;
    case Activation::kPrelu:
      return v < 0 ? v * slope[c] : v;
    case Activation::kHardtanh:
      return v < -1 ? -1 : v > 1 ? 1 : v;
    default:
      return v;
  }
}

// One rounding where there are both, as of torch's batch norm.
float affine(float v, const float* scale, const float* shift, std::size_t c) {
  if (scale == nullptr) return shift == nullptr ? v : v + shift[c];
  return shift == nullptr ? v * scale[c] : std::fma(v, scale[c], shift[c]);
}

float value_of(const Epilogue& e, std::int32_t acc, std::size_t c, float residual) {
  float v = static_cast<float>(acc);
  if (e.scale != nullptr) v = v * e.scale[c];
  if (e.bias != nullptr) v = v + e.bias[c];
  if (e.post_scale != nullptr) v = v * e.post_scale[c];
  v = activate(v, e.first_activation, e.first_slope, c);
  v = affine(v, e.affine_scale, e.affine_shift, c);
  if (e.residual_at == ResidualAt::kBeforeActivation) v = v + residual;
  if (e.second_shift_in != nullptr) v = v + e.second_shift_in[c];
  v = activate(v, e.second_activation, e.second_slope, c);
  if (e.second_shift_out != nullptr) v = v + e.second_shift_out[c];
  if (e.residual_at == ResidualAt::kAfterActivation) v = v + residual;
  return v;
}

bool bit_of(const Epilogue& e, float v, std::size_t c) {
  return affine(v, e.bit_scale, e.bit_shift, c) < 0;
}

// Any NaN equals any other: which one an operation gives is the CPU's choice.
bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::memcmp(&a, &b, sizeof(a)) == 0;
}

struct Layer {
  ConvShape shape;
  std::vector<word_t> x, weight;
  std::vector<std::int32_t> sums;

  explicit Layer(const ConvShape& s)
      : shape(s),
        x(packed_rows(random(), s.batch * s.height * s.width, s.channels)),
        weight(packed_rows(random(), s.out_channels * s.kernel_h * s.kernel_w, s.group_channels())),
        sums(naive_bconv2d(s, x.data(), weight.data())) {}

  void run(const Epilogue& epilogue, Isa isa) const {
    const Aligned panel(panel_bytes(shape, isa));
    make_panel(shape, weight.data(), panel.get(), isa);
    bconv2d(shape, x.data(), weight.data(), panel.get(), epilogue, isa);
  }
};

void compare(const Layer& layer, Steps& steps, bool floats, bool bits, Isa isa) {
  const std::size_t channels = layer.shape.out_channels, outputs = layer.sums.size();
  const std::size_t pixels = outputs / channels, row_words = words(channels);
  const Floats residual = steps.residual;  // the output may overwrite its own
  const bool in_place = floats && !residual.empty() && random().one_in(2);
  Floats out(in_place ? Floats() : Floats(floats ? outputs : 0, 99.0f));
  std::vector<word_t> packed(bits ? pixels * row_words : 0, ~word_t{0});
  if (floats) steps.epilogue.out = in_place ? steps.residual.data() : out.data();
  if (bits) steps.epilogue.bits = packed.data();
  layer.run(steps.epilogue, isa);
  const std::string where = describe(layer.shape) + (in_place ? ", in place" : "");
  for (std::size_t i = 0; i < outputs; ++i) {
    const std::size_t c = i % channels;
    const float added = residual.empty() ? 0 : residual[i];
    const float want = value_of(steps.epilogue, layer.sums[i], c, added);
    if (floats) {
      const float got = steps.epilogue.out[i];
      check(same(got, want), "%s: output %zu (channel %zu) is %.9g, not %.9g", where.c_str(), i, c,
            got, want);
    }
    if (bits) {
      const bool got = (packed[i / channels * row_words + c / 64] >> (c % 64) & 1) != 0;
      check(got == bit_of(steps.epilogue, want, c), "%s: bit %zu (channel %zu) of %.9g is %d",
            where.c_str(), i, c, want, got);
    }
  }
  check(pad_bits_are_zero(packed, channels), "%s: pad bits are not 0", where.c_str());
}

void random_steps(Isa isa) {
  for (int round = 0; round < effort(300); ++round) {
    ConvShape s = random().one_in(3) ? random_conv(random())
                                     : linear(random().between(1, 40), random().between(1, 200),
                                              random().between(1, 300));
    s.channels = std::min<std::size_t>(s.channels, 300 / s.groups * s.groups);
    const Layer layer(s);
    for (int draws = 0; draws < 4; ++draws) {
      Steps steps;
      draw(steps, s.out_channels, layer.sums.size());
      const std::size_t which = random().between(0, 2);
      compare(layer, steps, which != 1, which != 0, isa);
    }
  }
}

// Every single step alone, with every number of channels up to two words and a tail.
void each_step_alone(Isa isa) {
  for (std::size_t channels = 1; channels <= 140; channels += effort(100) == 100 ? 1 : 9) {
    const Layer layer(linear(3, 65, channels));
    for (std::size_t step = 0; step < 14; ++step) {
      Steps one;
      const auto set = [&](const float* Epilogue::* to, Floats& memory) {
        one.epilogue.*to = some(memory, channels, 1);
      };
      if (step == 0) set(&Epilogue::scale, one.scale);
      if (step == 1) set(&Epilogue::bias, one.bias);
      if (step == 2) set(&Epilogue::affine_scale, one.affine_scale);
      if (step == 3) set(&Epilogue::affine_shift, one.affine_shift);
      if (step == 4) set(&Epilogue::second_shift_in, one.second_shift_in);
      if (step == 5) set(&Epilogue::second_shift_out, one.second_shift_out);
      if (step == 6) set(&Epilogue::bit_scale, one.bit_scale);
      if (step == 7) set(&Epilogue::bit_shift, one.bit_shift);
      if (step == 8) one.epilogue.first_activation = Activation::kRelu;
      if (step == 9) one.epilogue.second_activation = Activation::kHardtanh;
      if (step == 10) {
        one.epilogue.first_activation = Activation::kPrelu;
        set(&Epilogue::first_slope, one.first_slope);
      }
      if (step == 11) {
        one.epilogue.residual_at = ResidualAt::kBeforeActivation;
        one.epilogue.residual = some(one.residual, layer.sums.size(), 1);
      }
      if (step == 12) set(&Epilogue::post_scale, one.post_scale);
      if (step == 13) {
        set(&Epilogue::affine_scale, one.affine_scale);
        set(&Epilogue::affine_shift, one.affine_shift);
      }
      compare(layer, one, true, true, isa);
    }
  }
}

// Sums that float32 does not hold are rounded to nearest even, once.
void sums_beyond_float(Isa isa) {
  for (const std::size_t k : {(1u << 24) + 1, (1u << 24) + 3, (1u << 25) + 6}) {
    Layer layer(linear(1, 1, 1));
    layer.shape = linear(1, k, 3);
    layer.x = packed_rows(random(), 1, k, Fill::kZeros);
    layer.weight = packed_rows(random(), 3, k, Fill::kZeros);
    layer.weight[0] = 1;  // one product of -1
    layer.sums.assign(3, static_cast<std::int32_t>(k));
    layer.sums[0] -= 2;
    Steps steps;
    compare(layer, steps, true, true, isa);
  }
}

const Registration table([] {
  add_for_each_isa("epilogue", "random_steps", random_steps);
  add_for_each_isa("epilogue", "each_step_alone", each_step_alone);
  add_for_each_isa("epilogue", "sums_beyond_float", sums_beyond_float);
});

}  // namespace
}  // namespace bnn::test
