// bconv2d for every ISA against one product at a time, exactly; and what panels promise.
#include "bnn/bconv2d.h"

#include <thread>
#include <vector>

#include "naive.h"

namespace bnn::test {
namespace {

std::size_t weight_rows(const ConvShape& s) { return s.out_channels * s.kernel_h * s.kernel_w; }

void compare(const ConvShape& s, Isa isa, Fill x_fill = Fill::kRandom,
             Fill weight_fill = Fill::kRandom) {
  const auto x = packed_rows(random(), s.batch * s.height * s.width, s.channels, x_fill);
  const auto weight = packed_rows(random(), weight_rows(s), s.group_channels(), weight_fill);
  const std::size_t bytes = panel_bytes(s, isa);
  const Aligned panel(bytes);
  make_panel(s, weight.data(), panel.get(), isa);
  check(panel_fits(s, panel.get(), bytes, isa), "its own panel does not fit: %s",
        describe(s).c_str());
  const std::vector<std::int32_t> want = naive_bconv2d(s, x.data(), weight.data());
  std::vector<std::int32_t> got(want.size(), -12345);
  Epilogue epilogue;
  epilogue.out_int32 = got.data();
  bconv2d(s, x.data(), weight.data(), panel.get(), epilogue, isa);
  for (std::size_t i = 0; i < want.size(); ++i) {
    check(got[i] == want[i], "%s by %s: output %zu is %d, not %d", describe(s).c_str(),
          bconv2d_kernel(s, isa), i, got[i], want[i]);
  }
}

void random_shapes(Isa isa) {
  for (int round = 0; round < effort(1000); ++round) {
    const Threads restore(random().one_in(3) ? 3 : 1);
    const ConvShape s = random_conv(random());
    compare(s, isa);
  }
}

// All lengths of a row, and numbers of rows around those that kernels take at once.
void linear_layers(Isa isa) {
  for (int round = 0; round < effort(300); ++round) {
    const std::size_t rows = random().pick({0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64});
    compare(linear(rows, random().between(1, 700), random().between(1, 140)), isa);
  }
}

// Layers whose filters, not rows, are what threads can share.
void few_rows_many_filters(Isa isa) {
  for (const int threads : {1, 2, 4, 7}) {
    const Threads restore(threads);
    for (const std::size_t out : {127, 128, 129, 384, 385, 1000, 1537}) {
      compare(linear(random().between(1, 3), random().between(300, 2500), out), isa);
    }
  }
}

// Images large enough that every thread has tiles of every region.
void large_images(Isa isa) {
  for (const int threads : {1, 4}) {
    const Threads restore(threads);
    for (const std::size_t groups : {1, 2, 64}) {
      for (const int pad_value : {-1, 0, 1}) {
        ConvShape s{};
        s.batch = 2;
        s.height = effort(100) == 100 ? 17 : 9;
        s.width = 29;
        s.channels = s.out_channels = 64;
        s.groups = groups;
        s.kernel_h = s.kernel_w = 3;
        s.pad_top = s.pad_bottom = s.pad_left = s.pad_right = 1;
        s.pad_value = pad_value;
        compare(s, isa);
      }
    }
  }
}

// Sums beyond the limits of 8, 15 and 16 bits, where every bit or none differs.
void extreme_sums(Isa isa) {
  for (const std::size_t k : {255, 256, 32767, 32768, 65535, 65536, 100001}) {
    for (const Fill fill : {Fill::kZeros, Fill::kOnes}) {
      compare(linear(2, k, 3), isa, Fill::kZeros, fill);
      compare(linear(17, k, 33), isa, Fill::kOnes, fill);
    }
  }
  ConvShape s = linear(2, 8200, 5);  // 9 taps: more than 65,535
  s.height = s.width = s.kernel_h = s.kernel_w = 3;
  compare(s, isa, Fill::kZeros, Fill::kOnes);
  s.channels = s.out_channels = s.groups = 70;  // depthwise, up to 961 taps
  s.height = s.width = s.kernel_h = s.kernel_w = 31;
  compare(s, isa, Fill::kZeros, Fill::kOnes);
  s.pad_top = s.pad_bottom = s.pad_left = s.pad_right = 3;
  compare(s, isa, Fill::kOnes, Fill::kZeros);
}

ConvShape example() {
  ConvShape s = linear(1, 130, 40);
  s.height = s.width = 5;
  s.kernel_h = s.kernel_w = 3;
  return s;
}

// A panel from a file, another machine or another layer is refused, not read.
void panels_are_recognised(Isa isa) {
  const ConvShape s = example();
  const auto weight = packed_rows(random(), weight_rows(s), s.channels);
  const std::size_t bytes = panel_bytes(s, isa);
  if (bytes == 0) return;  // this ISA's kernel reads the weight itself
  const Aligned panel(bytes);
  make_panel(s, weight.data(), panel.get(), isa);
  check(panel_fits(s, panel.get(), bytes, isa), "its own");
  check(!panel_fits(s, nullptr, bytes, isa), "none");
  check(!panel_fits(s, panel.get(), bytes - 1, isa), "one byte less");
  check(!panel_fits(s, panel.get(), bytes + 64, isa), "64 bytes more");
  check(!panel_fits(s, panel.get(), 0, isa), "no bytes");
  ConvShape other = s;
  other.kernel_h = 1;
  other.kernel_w = 9;
  check(!panel_fits(other, panel.get(), panel_bytes(other, isa), isa), "another kernel's size");
  other = s;
  other.out_channels = 39;
  check(!panel_fits(other, panel.get(), bytes, isa), "another number of filters");
  other = s;
  other.height = other.batch = 9;
  other.stride_w = other.dilation_h = other.pad_top = 2;
  check(panel_fits(other, panel.get(), bytes, isa), "the same weight in another image");
  static_cast<char*>(panel.get())[0] ^= 1;
  check(!panel_fits(s, panel.get(), bytes, isa), "a damaged header");
}

// Depthwise counters where they need one bit more, and where they need more than 16.
void many_taps(Isa isa) {
  for (const std::size_t channels : {3, 290}) {
    for (const std::size_t taps : {15, 16, 255, 256, 65535, 65536, 70001}) {
      ConvShape s = linear(1, channels, channels);
      s.groups = channels;
      s.width = s.kernel_w = taps;
      compare(s, isa, Fill::kZeros, Fill::kOnes);
    }
  }
}

// Channels around those that depthwise kernels take at once, of few and of many taps.
void depthwise_channels(Isa isa) {
  for (const std::size_t channels : {64, 128, 192, 255, 256, 257, 320, 448, 512, 530}) {
    for (const std::size_t kernel : {1, 2, 3, 4, 6}) {
      ConvShape s = linear(random().between(1, 2), channels, channels);
      s.groups = channels;
      s.height = s.width = random().between(4, 9);
      s.kernel_h = kernel;
      s.kernel_w = 3;
      s.pad_top = s.pad_bottom = 2;
      s.pad_left = random().between(0, 1);
      compare(s, isa);
    }
  }
}

// One layer, its panel shared, called from several threads at once, each with work for the pool.
void from_many_threads(Isa isa) {
  const Threads restore(2);
  ConvShape s = example();
  s.height = s.width = 40;
  const auto x = packed_rows(random(), s.height * s.width, s.channels);
  const auto weight = packed_rows(random(), weight_rows(s), s.channels);
  const Aligned panel(panel_bytes(s, isa));
  make_panel(s, weight.data(), panel.get(), isa);
  const auto run = [&](std::vector<std::int32_t>* out) {
    Epilogue epilogue;
    epilogue.out_int32 = out->data();
    bconv2d(s, x.data(), weight.data(), panel.get(), epilogue, isa);
  };
  const std::vector<std::int32_t> empty(s.out_h() * s.out_w() * s.out_channels, -12345);
  std::vector<std::int32_t> want = empty;
  run(&want);
  for (int round = 0; round < effort(20); ++round) {
    std::vector<std::vector<std::int32_t>> got(4, empty);
    std::vector<std::thread> callers;
    for (auto& out : got) callers.emplace_back(run, &out);
    for (std::thread& caller : callers) caller.join();
    for (const auto& out : got) check(out == want, "a caller got another result");
  }
}

const Registration table([] {
  add_for_each_isa("bconv2d", "random_shapes", random_shapes);
  add_for_each_isa("bconv2d", "linear_layers", linear_layers);
  add_for_each_isa("bconv2d", "few_rows_many_filters", few_rows_many_filters);
  add_for_each_isa("bconv2d", "large_images", large_images);
  add_for_each_isa("bconv2d", "extreme_sums", extreme_sums);
  add_for_each_isa("bconv2d", "many_taps", many_taps);
  add_for_each_isa("bconv2d", "depthwise_channels", depthwise_channels);
  add_for_each_isa("bconv2d", "from_many_threads", from_many_threads);
  add_for_each_isa("bconv2d", "panels_are_recognised", panels_are_recognised);
});

}  // namespace
}  // namespace bnn::test
