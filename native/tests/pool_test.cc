// What lies between convolutions, for every ISA against one element at a time, exactly.
#include "bnn/pool.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "naive.h"

namespace bnn::test {
namespace {

std::size_t some_channels() {
  return random().one_in(2) ? random().between(1, 200)
                            : random().pick({1, 3, 32, 33, 63, 64, 65, 100, 128, 192});
}

// One axis as torch allows it: padding up to half the window; with ceil_mode the last window may
// hang over the end, but begins in the image or in the padding before it.
void random_axis(std::size_t& size, std::size_t& kernel, std::size_t& stride, std::size_t& pad,
                 std::size_t& dilation, std::size_t& out) {
  kernel = random().between(1, 5);
  stride = random().between(1, 4);
  pad = random().between(0, kernel / 2);
  dilation = random().pick({1, 1, 1, 2, 3});
  const std::size_t extent = dilation * (kernel - 1) + 1;
  do {
    size = random().between(1, 14);
  } while (size + 2 * pad < extent);
  const bool ceil_mode = random().one_in(3);
  out = (size + 2 * pad - extent + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (ceil_mode && (out - 1) * stride >= size + pad) --out;
}

PoolShape random_pool() {
  PoolShape s{};
  s.batch = random().one_in(20) ? 0 : random().between(1, 3);
  s.channels = some_channels();
  random_axis(s.height, s.kernel_h, s.stride_h, s.pad_top, s.dilation_h, s.out_h);
  random_axis(s.width, s.kernel_w, s.stride_w, s.pad_left, s.dilation_w, s.out_w);
  return s;
}

std::string describe(const PoolShape& s) {
  char text[256];
  std::snprintf(text, sizeof(text),
                "x %zux%zux%zux%zu window %zux%zu stride %zu,%zu pad %zu,%zu dilation %zu,%zu "
                "out %zux%zu",
                s.batch, s.height, s.width, s.channels, s.kernel_h, s.kernel_w, s.stride_h,
                s.stride_w, s.pad_top, s.pad_left, s.dilation_h, s.dilation_w, s.out_h, s.out_w);
  return text;
}

// Calls visit(pixel) for the taps of a window that lie in the image, row by row.
template <typename Visit>
void for_each_tap(const PoolShape& s, std::size_t b, std::size_t oy, std::size_t ox, Visit visit) {
  for (std::size_t ky = 0; ky < s.kernel_h; ++ky) {
    for (std::size_t kx = 0; kx < s.kernel_w; ++kx) {
      const std::size_t y = oy * s.stride_h + ky * s.dilation_h;
      const std::size_t x = ox * s.stride_w + kx * s.dilation_w;
      if (y < s.pad_top || y - s.pad_top >= s.height) continue;
      if (x < s.pad_left || x - s.pad_left >= s.width) continue;
      visit((b * s.height + y - s.pad_top) * s.width + x - s.pad_left);
    }
  }
}

bool some_window_is_empty(const PoolShape& s) {
  for (std::size_t oy = 0; oy < s.out_h; ++oy) {
    for (std::size_t ox = 0; ox < s.out_w; ++ox) {
      std::size_t taps = 0;
      for_each_tap(s, 0, oy, ox, [&](std::size_t) { ++taps; });
      if (taps == 0) return true;
    }
  }
  return false;
}

// What callers refuse is not tested.
PoolShape valid_pool(bool dilated) {
  for (;;) {
    PoolShape s = random_pool();
    if (!dilated && (s.dilation_h != 1 || s.dilation_w != 1)) continue;
    if (!some_window_is_empty(s)) return s;
  }
}

void bmaxpool(Isa isa) {
  for (int round = 0; round < effort(500); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const PoolShape s = valid_pool(true);
    const std::size_t row_words = words(s.channels);
    // A tenth of +1: windows of only -1 are then about as frequent as others.
    auto x = packed_rows(random(), s.batch * s.height * s.width, s.channels);
    for (int i = 0; i < 2; ++i) {
      const auto more = packed_rows(random(), s.batch * s.height * s.width, s.channels);
      for (std::size_t w = 0; w < x.size(); ++w) x[w] |= more[w];
    }
    std::vector<word_t> out(s.batch * s.out_h * s.out_w * row_words, ~word_t{0});
    bmaxpool2d(s, x.data(), out.data(), isa);
    for (std::size_t i = 0; i < s.batch * s.out_h * s.out_w; ++i) {
      const std::size_t oy = i / s.out_w % s.out_h, b = i / s.out_w / s.out_h;
      for (std::size_t c = 0; c < s.channels; ++c) {
        int want = -1;
        for_each_tap(s, b, oy, i % s.out_w, [&](std::size_t pixel) {
          want = std::max(want, value(&x[pixel * row_words], c));
        });
        const int got = value(&out[i * row_words], c);
        check(got == want, "%s: pixel %zu channel %zu is %+d", describe(s).c_str(), i, c, got);
      }
    }
    check(pad_bits_are_zero(out, s.channels), "%s: pad bits are not 0", describe(s).c_str());
  }
}

// torch: the window's size, of which what hangs over the padded image does not count.
std::size_t padded_window(const PoolShape& s, std::size_t oy, std::size_t ox) {
  const std::size_t bottom =
      std::min(oy * s.stride_h + s.kernel_h, s.height + 2 * s.pad_top) - oy * s.stride_h;
  const std::size_t right =
      std::min(ox * s.stride_w + s.kernel_w, s.width + 2 * s.pad_left) - ox * s.stride_w;
  return bottom * right;
}

void avgpool(Isa isa) {
  for (int round = 0; round < effort(500); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const PoolShape s = valid_pool(false);
    const bool count_include_pad = random().one_in(2);
    std::vector<float> x(s.batch * s.height * s.width * s.channels);
    for (float& v : x) v = random().real() * 100;
    std::vector<float> out(s.batch * s.out_h * s.out_w * s.channels, 99.0f);
    avgpool2d(s, count_include_pad, x.data(), out.data(), isa);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t c = i % s.channels, ox = i / s.channels % s.out_w;
      const std::size_t oy = i / s.channels / s.out_w % s.out_h;
      float sum = 0;
      std::size_t taps = 0;
      for_each_tap(s, i / s.channels / s.out_w / s.out_h, oy, ox, [&](std::size_t pixel) {
        sum += x[pixel * s.channels + c];
        ++taps;
      });
      const float want =
          sum / static_cast<float>(count_include_pad ? padded_window(s, oy, ox) : taps);
      check(out[i] == want, "%s, count_include_pad %d: output %zu is %.9g, not %.9g",
            describe(s).c_str(), count_include_pad, i, out[i], want);
    }
  }
}

void bglobal_avgpool(Isa isa) {
  for (int round = 0; round < effort(200); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const std::size_t batch = random().between(0, 3), channels = some_channels();
    const std::size_t pixels =
        random().pick({1, 2, 7, 49, 64, 196, 254, 255, 256, 257, 510, 511, 784, 3136, 65536});
    const Fill fill = static_cast<Fill>(random().between(0, 2));
    const std::size_t row_words = words(channels);
    const auto x = packed_rows(random(), batch * pixels, channels, fill);
    std::vector<float> out(batch * channels, 99.0f);
    bnn::bglobal_avgpool(batch, pixels, channels, x.data(), out.data(), isa);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const word_t* image = x.data() + i / channels * pixels * row_words;
      long sum = 0;
      for (std::size_t p = 0; p < pixels; ++p) sum += value(image + p * row_words, i % channels);
      const float want = static_cast<float>(sum) / static_cast<float>(pixels);
      check(out[i] == want, "%zu pixels, channel %zu of %zu: %.9g, not %.9g", pixels, i % channels,
            channels, out[i], want);
    }
  }
}

void bconcat(Isa isa) {
  for (int round = 0; round < effort(1000); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const std::size_t rows = random().between(0, 30), inputs = random().between(1, 6);
    std::vector<std::vector<word_t>> x;
    std::vector<const word_t*> pointers;
    std::vector<std::size_t> channels;
    std::size_t total = 0;
    for (std::size_t i = 0; i < inputs; ++i) {
      channels.push_back(some_channels());
      x.push_back(packed_rows(random(), rows, channels[i]));
      pointers.push_back(x[i].data());
      total += channels[i];
    }
    std::vector<word_t> out(rows * words(total), ~word_t{0});
    bnn::bconcat(rows, inputs, pointers.data(), channels.data(), out.data(), isa);
    for (std::size_t row = 0; row < rows; ++row) {
      std::size_t at = 0;
      for (std::size_t i = 0; i < inputs; ++i) {
        for (std::size_t c = 0; c < channels[i]; ++c, ++at) {
          check(value(&out[row * words(total)], at) == value(&x[i][row * words(channels[i])], c),
                "row %zu: channel %zu of input %zu, which has %zu", row, c, i, channels[i]);
        }
      }
    }
    check(pad_bits_are_zero(out, total), "pad bits are not 0 (%zu channels)", total);
  }
}

void bchannel_shuffle(Isa isa) {
  for (int round = 0; round < effort(1000); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const std::size_t rows = random().between(0, 30), groups = random().pick({1, 2, 2, 3, 4, 8});
    const std::size_t channels = groups * random().between(1, 200), row_words = words(channels);
    const auto x = packed_rows(random(), rows, channels);
    std::vector<word_t> out(rows * row_words, ~word_t{0});
    bnn::bchannel_shuffle(rows, channels, groups, x.data(), out.data(), isa);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = 0; i < channels; ++i) {
        const std::size_t from = i % groups * (channels / groups) + i / groups;
        check(value(&out[row * row_words], i) == value(&x[row * row_words], from),
              "channel %zu of %zu in %zu groups", i, channels, groups);
      }
    }
    check(pad_bits_are_zero(out, channels), "pad bits are not 0 (%zu channels)", channels);
  }
}

const Registration table([] {
  add_for_each_isa("pool", "bmaxpool2d", bmaxpool);
  add_for_each_isa("pool", "avgpool2d", avgpool);
  add_for_each_isa("pool", "bglobal_avgpool", bglobal_avgpool);
  add_for_each_isa("pool", "bconcat", bconcat);
  add_for_each_isa("pool", "bchannel_shuffle", bchannel_shuffle);
});

}  // namespace
}  // namespace bnn::test
