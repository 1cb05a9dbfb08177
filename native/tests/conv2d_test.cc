// Float convolution for every ISA against sums in double, one product at a time; its epilogue as
// the binary one's, to the last bit; pooling likewise.
#include "bnn/conv2d.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "bnn/map.h"
#include "bnn/pool.h"
#include "bnn/program.h"
#include "naive.h"
#include "winograd/plan.h"

namespace bnn::test {
namespace {

using Floats = std::vector<float>;

Floats floats(std::size_t count) {
  Floats values(count);
  for (float& v : values) v = random().real();
  return values;
}

// Memory that begins away from any alignment and ends where it says.
Floats nchw(const ConvShape& s, const Floats& nhwc) {
  Floats x(nhwc.size());
  const std::size_t plane = s.height * s.width;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i / plane % s.channels, b = i / plane / s.channels;
    x[i] = nhwc[(b * plane + i % plane) * s.channels + c];
  }
  return x;
}

void compare(ConvShape s, Isa isa) {
  s.pad_value = 0;
  const Floats x = floats(s.batch * s.height * s.width * s.channels);
  const Floats weight = floats(s.out_channels * s.kernel_h * s.kernel_w * s.group_channels());
  const std::size_t bytes = conv2d_panel_bytes(s, isa);
  const Aligned panel(bytes);
  make_conv2d_panel(s, weight.data(), panel.get(), isa);
  const std::vector<FloatSum> want = naive_conv2d(s, x.data(), weight.data());
  // Minimal filtering rounds a tile's products, also for a pixel whose own taps are mostly padding,
  // and adds up to 64 times the rounding of one: decision 0023.
  double largest = 0;
  for (const FloatSum& sum : want) largest = std::max(largest, sum.magnitude);
  const bool tiles = is_winograd(s);
  const Floats planes = nchw(s, x);
  Floats bias = floats(s.out_channels);
  for (const bool x_nchw : {false, true}) {
    for (const bool relu : {false, true}) {
      Floats got(want.size(), 99.0f);
      Epilogue epilogue;
      epilogue.out = got.data();
      if (relu) {
        epilogue.bias = bias.data();
        epilogue.first_activation = Activation::kRelu;
      }
      conv2d(s, x_nchw, x_nchw ? planes.data() : x.data(), panel.get(), epilogue, isa);
      for (std::size_t i = 0; i < want.size(); ++i) {
        const double sum = want[i].sum + (relu ? bias[i % s.out_channels] : 0);
        const double expected = relu && sum < 0 ? 0 : sum;
        const double room = tiles ? (largest + 1) * 3e-6 : (want[i].magnitude + 1) * 1e-6 + 1e-6;
        check(std::fabs(got[i] - expected) <= room,
              "%s by %s, nchw %d: output %zu is %.9g, not %.9g", describe(s).c_str(),
              conv2d_kernel(s, isa), x_nchw, i, got[i], expected);
      }
    }
  }
}

void random_shapes(Isa isa) {
  for (int round = 0; round < effort(300); ++round) {
    const Threads restore(random().one_in(3) ? 3 : 1);
    ConvShape s = random_conv(random());
    s.channels = std::min<std::size_t>(s.channels, 200 / s.groups * s.groups + s.groups);
    compare(s, isa);
  }
}

// Every number of filters up to two words, and of pixels up to two tiles.
void tails(Isa isa) {
  for (std::size_t filters = 1; filters <= 130; filters += effort(100) == 100 ? 1 : 9) {
    compare(linear(random().between(1, 30), random().between(1, 70), filters), isa);
  }
}

void layers_of_networks(Isa isa) {
  for (const int threads : {1, 4}) {
    const Threads restore(threads);
    ConvShape s = linear(1, 3, 64);
    s.height = s.width = effort(100) == 100 ? 50 : 21;
    s.kernel_h = s.kernel_w = 7;
    s.stride_h = s.stride_w = 2;
    s.pad_top = s.pad_bottom = s.pad_left = s.pad_right = 3;
    compare(s, isa);
    s.kernel_h = s.kernel_w = 3;
    s.pad_top = s.pad_bottom = s.pad_left = s.pad_right = 1;
    s.channels = 16;
    s.out_channels = 32;
    compare(s, isa);
    s.groups = s.out_channels = 16;
    compare(s, isa);
    compare(linear(1, 300, 1000), isa);
  }
}

// As of MeliusNet's stem, whose groups are computed in pairs where vectors are of 16.
void groups_of_eight_filters(Isa isa) {
  for (int round = 0; round < effort(30); ++round) {
    const Threads restore(random().one_in(3) ? 3 : 1);
    ConvShape s = linear(random().between(1, 2), 0, 0);
    s.groups = 4 * random().between(1, 3);
    s.channels = s.groups * (random().one_in(2) ? 4 : 8);
    s.out_channels = s.groups * 8;
    s.height = random().between(1, 9);
    s.width = random().between(1, 40);
    s.kernel_h = random().between(1, 3);
    s.kernel_w = random().between(1, 3);
    s.stride_h = s.stride_w = random().between(1, 2);
    s.pad_top = s.pad_bottom = s.pad_left = s.pad_right = random().between(1, 2);
    compare(s, isa);
  }
}

ConvShape random_stem() {
  ConvShape s = linear(random().between(1, 2), random().between(1, 4), random().between(48, 130));
  s.height = random().between(1, 50);
  s.width = random().between(1, 70);
  s.kernel_h = s.kernel_w = 7;
  s.stride_h = s.stride_w = 2;
  s.pad_top = random().between(3, 6);
  s.pad_bottom = random().between(3, 6);
  s.pad_left = random().between(3, 6);
  s.pad_right = random().between(3, 6);
  return s;
}

void stems(Isa isa) {
  for (int round = 0; round < effort(8); ++round) {
    const Threads restore(random().one_in(3) ? 3 : 1);
    const ConvShape s = random_stem();
    check(is_winograd(s), "%s is not computed by minimal filtering", describe(s).c_str());
    compare(s, isa);
  }
}

// The sums of a 1x1 convolution with the unit matrix are its input: what follows is exact then.
void epilogue_is_exact(Isa isa) {
  for (int round = 0; round < effort(200); ++round) {
    const Threads restore(random().one_in(3) ? 3 : 1);
    const std::size_t channels = random().pick({1, 3, 16, 17, 32, 48, 63, 64, 65, 100, 128, 130});
    const std::size_t rows = random().between(0, 40);
    const ConvShape s = linear(rows, channels, channels);
    Floats weight(channels * channels, 0.0f);
    for (std::size_t c = 0; c < channels; ++c) weight[c * channels + c] = 1;
    const Aligned panel(conv2d_panel_bytes(s, isa));
    make_conv2d_panel(s, weight.data(), panel.get(), isa);
    const Floats x = floats(rows * channels), scale = floats(channels), shift = floats(channels),
                 slope = floats(channels), residual = floats(rows * channels);
    Floats out(rows * channels, 99.0f), mapped(rows * channels, 99.0f);
    std::vector<word_t> bits(rows * words(channels), ~word_t{0}), mapped_bits = bits;
    Epilogue e;
    e.out = out.data();
    e.bits = bits.data();
    e.affine_scale = scale.data();
    e.affine_shift = shift.data();
    e.residual_at = ResidualAt::kBeforeActivation;
    e.residual = residual.data();
    e.second_activation = Activation::kPrelu;
    e.second_slope = slope.data();
    e.bit_shift = shift.data();
    conv2d(s, false, x.data(), panel.get(), e, isa);
    e.out = mapped.data();
    e.bits = mapped_bits.data();
    map(rows, channels, x.data(), e, isa);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t c = i % channels;
      float v = std::fma(x[i], scale[c], shift[c]);
      v = v + residual[i];
      v = v < 0 ? v * slope[c] : v;
      check(out[i] == v && mapped[i] == v, "%zu channels, output %zu: %.9g and %.9g, not %.9g",
            channels, i, out[i], mapped[i], v);
      const bool bit = v + shift[c] < 0;
      const std::size_t w = i / channels * words(channels) + c / kWordBits;
      check((bits[w] >> c % kWordBits & 1) == bit && (mapped_bits[w] >> c % kWordBits & 1) == bit,
            "%zu channels: bit %zu of %.9g", channels, i, v);
    }
    check(pad_bits_are_zero(bits, channels) && pad_bits_are_zero(mapped_bits, channels),
          "%zu channels: pad bits are not 0", channels);
  }
}

const float* some(const Floats& parameter) {
  return random().one_in(2) ? nullptr : parameter.data();
}

// Some steps of an epilogue: those that kernels take while they have the sums, and others.
Epilogue random_epilogue(const Floats& parameters, const Floats& residual) {
  Epilogue e;
  e.bias = some(parameters);
  if (random().one_in(8)) e.affine_scale = parameters.data();
  const int first = random().between(0, 3), second = random().between(0, 3);
  if (random().one_in(2)) {
    e.first_activation = static_cast<Activation>(first);
  } else {
    e.second_activation = static_cast<Activation>(second);
  }
  if (random().one_in(8)) e.second_activation = Activation::kRelu;
  e.first_slope = e.second_slope = parameters.data();
  e.residual_at = static_cast<ResidualAt>(random().between(0, 2));
  e.residual = residual.data();
  e.bit_scale = some(parameters);
  e.bit_shift = some(parameters);
  return e;
}

// Convolution with the unit matrix and pooling of single pixels are their input: whichever code
// takes the steps that follow, they are those of `map`.
void epilogues_are_maps(Isa isa) {
  for (int round = 0; round < effort(300); ++round) {
    const Threads restore(random().one_in(3) ? 3 : 1);
    const std::size_t channels = random().pick({8, 16, 24, 32, 48, 64, 80, 100, 128, 130, 192});
    PoolShape p{};
    p.batch = random().between(1, 2);
    p.height = p.out_h = random().between(1, 4);
    p.width = p.out_w = random().between(1, 30);
    p.channels = channels;
    p.kernel_h = p.kernel_w = p.stride_h = p.stride_w = 1;
    const std::size_t rows = p.batch * p.height * p.width;
    const ConvShape s = linear(rows, channels, channels);
    Floats weight(channels * channels, 0.0f);
    for (std::size_t c = 0; c < channels; ++c) weight[c * channels + c] = 1;
    const Aligned panel(conv2d_panel_bytes(s, isa));
    make_conv2d_panel(s, weight.data(), panel.get(), isa);
    const Floats x = floats(rows * channels), parameters = floats(channels);
    const Floats residual = floats(rows * channels);
    Epilogue e = random_epilogue(parameters, residual);
    const bool has_out = !random().one_in(4), has_bits = !has_out || random().one_in(2);
    const auto outputs_of = [&](const auto& operation) {
      std::pair<Floats, std::vector<word_t>> outputs;
      outputs.first.assign(rows * channels, 99.0f);
      outputs.second.assign(rows * words(channels), ~word_t{0});
      e.out = has_out ? outputs.first.data() : nullptr;
      e.bits = has_bits ? outputs.second.data() : nullptr;
      operation();
      return outputs;
    };
    const auto want = outputs_of([&] { map(rows, channels, x.data(), e, isa); });
    const auto sums = outputs_of([&] { conv2d(s, false, x.data(), panel.get(), e, isa); });
    const auto most = outputs_of([&] { maxpool2d(p, x.data(), e, isa); });
    const auto mean = outputs_of([&] { avgpool2d(p, false, x.data(), e, isa); });
    check(sums == want, "convolution of %zu pixels, %zu channels", rows, channels);
    check(most == want, "maximum of %zu pixels, %zu channels", rows, channels);
    check(mean == want, "mean of %zu pixels, %zu channels", rows, channels);
  }
}

// Windows against the float pooling that has no tiles, and against one comparison at a time.
void pooling(Isa isa) {
  for (int round = 0; round < effort(300); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    PoolShape s{};
    s.batch = random().between(0, 2);
    s.kernel_h = random().between(1, 4);
    s.kernel_w = random().between(1, 4);
    s.stride_h = random().between(1, 3);
    s.stride_w = random().between(1, 3);
    s.pad_top = random().between(0, s.kernel_h / 2);
    s.pad_left = random().between(0, s.kernel_w / 2);
    s.height = random().between(s.kernel_h, 15);
    s.width = random().between(s.kernel_w, 30);
    s.channels = random().pick({1, 3, 4, 15, 16, 17, 64, 65, 100});
    s.out_h = (s.height + 2 * s.pad_top - s.kernel_h) / s.stride_h + 1;
    s.out_w = (s.width + 2 * s.pad_left - s.kernel_w) / s.stride_w + 1;
    Floats x = floats(s.batch * s.height * s.width * s.channels);
    if (random().one_in(2)) {
      for (float& v : x) {
        if (random().one_in(20)) v = std::numeric_limits<float>::quiet_NaN();
      }
    }
    const std::size_t outputs = s.batch * s.out_h * s.out_w * s.channels;
    Floats mean(outputs, 99.0f), want_mean(outputs, 99.0f), most(outputs, 99.0f);
    const bool count_include_pad = random().one_in(2);
    Epilogue e;
    e.out = mean.data();
    avgpool2d(s, count_include_pad, x.data(), e, isa);
    avgpool2d(s, count_include_pad, x.data(), want_mean.data(), isa);
    e.out = most.data();
    maxpool2d(s, x.data(), e, isa);
    for (std::size_t i = 0; i < outputs; ++i) {
      const std::size_t c = i % s.channels, ox = i / s.channels % s.out_w;
      const std::size_t oy = i / s.channels / s.out_w % s.out_h;
      const std::size_t b = i / s.channels / s.out_w / s.out_h;
      float want = -std::numeric_limits<float>::infinity();
      for (std::size_t tap = 0; tap < s.kernel_h * s.kernel_w; ++tap) {
        const std::size_t y = oy * s.stride_h + tap / s.kernel_w - s.pad_top;
        const std::size_t xx = ox * s.stride_w + tap % s.kernel_w - s.pad_left;
        if (y >= s.height || xx >= s.width) continue;
        const float v = x[((b * s.height + y) * s.width + xx) * s.channels + c];
        want = std::isnan(v) || v > want ? v : want;
        if (std::isnan(want)) break;
      }
      check(most[i] == want || (std::isnan(most[i]) && std::isnan(want)),
            "maximum %zu is %.9g, not %.9g", i, most[i], want);
      check(mean[i] == want_mean[i] || (std::isnan(mean[i]) && std::isnan(want_mean[i])),
            "mean %zu is %.9g, not %.9g", i, mean[i], want_mean[i]);
    }
  }
}

// What follows a stem's sums is as if `map` took them, whichever code takes the steps.
void stems_are_mapped(Isa isa) {
  for (int round = 0; round < effort(40); ++round) {
    const Threads restore(random().one_in(3) ? 3 : 1);
    ConvShape s = random_stem();
    s.out_channels = random().pick({48, 64, 96, 100, 128});
    const std::size_t rows = s.batch * s.out_h() * s.out_w(), channels = s.out_channels;
    const Floats x = floats(s.batch * s.height * s.width * s.channels);
    const Floats weight = floats(channels * 49 * s.channels), parameters = floats(channels);
    const Floats residual = floats(rows * channels);
    const Aligned panel(conv2d_panel_bytes(s, isa));
    make_conv2d_panel(s, weight.data(), panel.get(), isa);
    Floats sums(rows * channels), out(rows * channels, 99.0f), mapped = out;
    std::vector<word_t> bits(rows * words(channels), ~word_t{0}), mapped_bits = bits;
    Epilogue e;
    e.out = sums.data();
    conv2d(s, true, x.data(), panel.get(), e, isa);
    e = random_epilogue(parameters, residual);
    e.out = out.data();
    const bool has_bits = random().one_in(2);
    if (has_bits) e.bits = bits.data();
    conv2d(s, true, x.data(), panel.get(), e, isa);
    e.out = mapped.data();
    if (has_bits) e.bits = mapped_bits.data();
    map(rows, channels, sums.data(), e, isa);
    check(out == mapped && bits == mapped_bits, "%s", describe(s).c_str());
  }
}

// With the maximum behind it, a stem is as the two one after the other.
void stems_are_pooled(Isa isa) {
  for (int round = 0; round < effort(40); ++round) {
    const Threads restore(random().one_in(3) ? 3 : 1);
    ConvShape s = random_stem();
    s.out_channels = random().pick({64, 96, 128, 100});
    const std::size_t channels = s.out_channels;
    PoolShape p{};
    p.batch = s.batch;
    p.height = s.out_h();
    p.width = s.out_w();
    p.channels = channels;
    p.kernel_h = p.kernel_w = 3;
    p.stride_h = p.stride_w = 2;
    p.pad_top = p.pad_left = 1;
    p.out_h = (p.height + 1) / 2;
    p.out_w = (p.width + 1) / 2;
    const std::size_t rows = p.batch * p.out_h * p.out_w;
    const Floats weight = floats(channels * 49 * s.channels), parameters = floats(channels);
    Floats x = floats(s.batch * s.height * s.width * s.channels);
    if (random().one_in(4)) x[x.size() / 2] = std::numeric_limits<float>::quiet_NaN();
    const Aligned panel(conv2d_panel_bytes(s, isa));
    make_conv2d_panel(s, weight.data(), panel.get(), isa);
    Epilogue between = random_epilogue(parameters, {});
    between.residual_at = ResidualAt::kNone;
    Epilogue e;
    e.bias = some(parameters);
    e.bit_shift = some(parameters);
    Floats sums(s.batch * p.height * p.width * channels), want(rows * channels), got = want;
    std::vector<word_t> want_bits(rows * words(channels)), got_bits = want_bits;
    Epilogue first = between, second = e;
    first.out = sums.data();
    second.out = want.data();
    second.bits = want_bits.data();
    conv2d(s, true, x.data(), panel.get(), first, isa);
    maxpool2d(p, sums.data(), second, isa);
    if (!fuses_maxpool2d(s, between, p)) {
      check(channels == 100 || between.affine_scale != nullptr ||
                between.first_activation == Activation::kHardtanh ||
                between.first_activation == Activation::kPrelu ||
                between.second_activation != Activation::kNone,
            "%s is not pooled", describe(s).c_str());
      continue;
    }
    Program program(isa);
    program.conv2d_maxpool2d(s, true, 0, panel.get(), between, p, 1, 2, Program::kNone, e);
    void* addresses[] = {x.data(), got.data(), got_bits.data()};
    program.run(addresses);
    for (std::size_t i = 0; i < got.size(); ++i) {
      check(got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i])),
            "%s: maximum %zu is %.9g, not %.9g", describe(s).c_str(), i, got[i], want[i]);
    }
    check(got_bits == want_bits, "%s: bits", describe(s).c_str());
  }
}

void orders(Isa isa) {
  for (int round = 0; round < effort(100); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const std::size_t batch = random().between(0, 3), pixels = random().between(1, 300);
    const std::size_t channels = random().one_in(4) ? 64 : random().between(1, 70);
    const Floats x = floats(batch * channels * pixels);
    Floats nhwc(x.size()), back(x.size());
    to_nhwc(batch, channels, pixels, x.data(), nhwc.data(), isa);
    to_nchw(batch, channels, pixels, nhwc.data(), back.data(), isa);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t p = i % pixels, c = i / pixels % channels, b = i / pixels / channels;
      check(nhwc[(b * pixels + p) * channels + c] == x[i] && back[i] == x[i], "element %zu", i);
    }
    const std::vector<std::size_t> parts = {channels, channels, 3};
    const Floats three = floats(batch * pixels * 3);
    const float* inputs[] = {nhwc.data(), nhwc.data(), three.data()};
    Floats joined(batch * pixels * (2 * channels + 3)), relu(joined.size());
    Epilogue e;
    e.out = joined.data();
    concat(batch * pixels, 3, inputs, parts.data(), e, isa);
    e.out = relu.data();
    e.second_activation = Activation::kRelu;
    concat(batch * pixels, 3, inputs, parts.data(), e, isa);
    for (std::size_t i = 0; i < joined.size(); ++i) {
      const std::size_t row = i / (2 * channels + 3), c = i % (2 * channels + 3);
      const float want = c < 2 * channels ? nhwc[row * channels + c % channels]
                                          : three[row * 3 + c - 2 * channels];
      check(joined[i] == want && relu[i] == std::max(want, 0.0f), "joined %zu", i);
    }
    // Steps and bits, whether each input has words of its own (64, 64, 3) or not: as of the whole.
    const std::size_t rows = batch * pixels, total = 2 * channels + 3;
    const Floats parameters = floats(total), residual = floats(rows * total);
    e = random_epilogue(parameters, residual);
    Floats whole(joined.size(), 99.0f), parted = whole;
    std::vector<word_t> whole_bits(rows * words(total), ~word_t{0}), parted_bits = whole_bits;
    const bool has_out = random().one_in(2);
    e.out = has_out ? whole.data() : nullptr;
    e.bits = whole_bits.data();
    map(rows, total, joined.data(), e, isa);
    e.out = has_out ? parted.data() : nullptr;
    e.bits = parted_bits.data();
    concat(rows, 3, inputs, parts.data(), e, isa);
    check(parted == whole, "%zu channels twice and 3: values", channels);
    check(parted_bits == whole_bits, "%zu channels twice and 3: bits", channels);
  }
}

void products(Isa isa) {
  for (int round = 0; round < effort(100); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const std::size_t batch = random().between(0, 3), pixels = random().between(1, 300);
    const std::size_t channels = random().between(1, 130), rows = batch * pixels;
    const bool gate = random().one_in(2);
    const Floats x = floats(rows * channels), by = floats((gate ? batch : rows) * channels);
    Floats got(x.size()), level(x.size());
    std::vector<word_t> bits(rows * words(channels), ~word_t{0});
    Epilogue e;
    e.out = got.data();
    e.bits = bits.data();
    e.first_activation = Activation::kRelu;
    e.bit_shift = x.data();
    multiply(rows, channels, x.data(), by.data(), gate ? pixels : 1, e, isa);
    e.out = level.data();
    e.bits = nullptr;
    bnn::level(rows, channels, x.data(), 3, 1, e, isa);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t row = i / channels, c = i % channels;
      const float want = std::max(x[i] * by[(gate ? row / pixels : row) * channels + c], 0.0f);
      check(got[i] == want, "product %zu", i);
      const word_t word = bits[row * words(channels) + c / kWordBits];
      check((word >> c % kWordBits & 1) == (want + x[c] < 0), "bit %zu", i);
      const float r = std::nearbyint(std::min(std::max(x[i], 0.0f), 1.0f) * 3) - 1.5f;
      check(level[i] == std::max(r < 0 ? r + 1 : r - 1, 0.0f), "level %zu", i);
    }
  }
}

const Registration table([] {
  add_for_each_isa("conv2d", "random_shapes", random_shapes);
  add_for_each_isa("conv2d", "tails", tails);
  add_for_each_isa("conv2d", "layers_of_networks", layers_of_networks);
  add_for_each_isa("conv2d", "groups_of_eight_filters", groups_of_eight_filters);
  add_for_each_isa("conv2d", "stems", stems);
  add_for_each_isa("conv2d", "stems_are_mapped", stems_are_mapped);
  add_for_each_isa("conv2d", "stems_are_pooled", stems_are_pooled);
  add_for_each_isa("conv2d", "epilogue_is_exact", epilogue_is_exact);
  add_for_each_isa("conv2d", "epilogues_are_maps", epilogues_are_maps);
  add_for_each_isa("conv2d", "pooling", pooling);
  add_for_each_isa("conv2d", "orders", orders);
  add_for_each_isa("conv2d", "products", products);
});

}  // namespace
}  // namespace bnn::test
