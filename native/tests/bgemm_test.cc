// Every row of bgemm.inc against counting bit by bit, and the selection of a row.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "bgemm/select.h"
#include "naive.h"

namespace bnn::test {
namespace {

constexpr std::int32_t kGuard = -12345;

// A call of a tile kernel, with its memory.
struct Product {
  PanelShape shape;
  std::size_t m;
  std::vector<Run> runs;
  std::ptrdiff_t row_step = 0;  // words from a row's base to the next row's
  std::size_t first_base = 0;   // words from the begin of `x` to the first row's base
  std::vector<word_t> x;
  std::vector<word_t> weight;  // (n, taps, tap_words)
};

std::size_t span(const Product& p) {
  std::size_t last = 0;
  for (const Run& run : p.runs) last = std::max<std::size_t>(last, run.offset + run.count);
  return last;
}

// Rows as in a convolution: overlapping, each with its runs at the same offsets. The last run of
// the last row ends with the memory, the first of the first begins it.
void place_rows(Product& p, Fill fill) {
  const std::size_t tap_words = p.shape.tap_words, taps = span(p) / tap_words;
  const std::size_t step = random().between(1, 3);
  p.row_step = static_cast<std::ptrdiff_t>(step * tap_words);
  p.x = packed_rows(random(), taps + (p.m - 1) * step, p.shape.tap_bits, fill);
  // Bases may lie behind the first tap: offsets are signed.
  p.first_base = random().between(0, std::min<std::size_t>(taps, 2)) * tap_words;
  for (Run& run : p.runs) run.offset -= static_cast<std::ptrdiff_t>(p.first_base);
}

// Some of the taps, in order; neighbours are sometimes one run.
std::vector<Run> some_runs(const PanelShape& shape) {
  std::vector<Run> runs;
  std::size_t offset = 0;
  const bool all = random().one_in(3), merge = random().one_in(2);
  for (std::size_t tap = 0; tap < shape.taps; ++tap) {
    if (!all && random().one_in(3)) continue;
    const std::size_t k = tap * shape.tap_words;
    if (merge && !runs.empty() && runs.back().k + runs.back().count == k) {
      runs.back().count += shape.tap_words;
      ++runs.back().taps;
    } else {
      if (!runs.empty()) offset += random().between(0, 4) * shape.tap_words;
      runs.push_back({static_cast<std::ptrdiff_t>(offset), tap, 1, k, shape.tap_words});
    }
    offset += shape.tap_words;
  }
  return runs;
}

Product make(const PanelShape& shape, std::size_t m, std::vector<Run> runs, Fill x, Fill weight) {
  Product p;
  p.shape = shape;
  p.m = m;
  p.runs = std::move(runs);
  p.weight = packed_rows(random(), shape.n * shape.taps, shape.tap_bits, weight);
  place_rows(p, x);
  return p;
}

PanelShape panel_shape(std::size_t n, std::size_t taps, std::size_t tap_bits) {
  return {n, taps, tap_bits, words(tap_bits)};
}

std::int32_t count(const Product& p, std::size_t m, std::size_t n) {
  const word_t* row = p.x.data() + p.first_base + m * p.row_step;
  const word_t* filter = p.weight.data() + n * p.shape.taps * p.shape.tap_words;
  std::int32_t sum = 0;
  for (const Run& run : p.runs) {
    for (std::size_t i = 0; i < run.count; ++i) {
      sum += __builtin_popcountll(row[run.offset + i] ^ filter[run.k + i]);
    }
  }
  return sum;
}

// The product's rows and offsets in the form that the kernel reads.
struct Rows {
  std::vector<word_t> x;
  std::vector<const word_t*> bases;
  std::vector<Run> runs;

  Rows(const Product& p, RowForm form) : x(p.x), runs(p.runs) {
    std::size_t scale = 1;
    if (form == RowForm::kHalvesWithParity) {
      scale = 2;
      const auto half = [&p](std::size_t j) -> word_t {
        return j / 2 < p.x.size() ? p.x[j / 2] >> (j % 2 * 32) & 0xffffffff : 0;
      };
      x.resize(2 * p.x.size());
      for (std::size_t j = 0; j < x.size(); ++j) {
        x[j] = half(j) | (half(j) ^ half(j + 1) ^ half(j + 2)) << 32;
      }
      for (Run& run : runs) run.offset *= 2;
    }
    for (std::size_t m = 0; m < p.m; ++m) {
      bases.push_back(x.data() + scale * (p.first_base + m * p.row_step));
    }
  }
};

void compare(const BgemmKernel& kernel, const Product& p) {
  const Aligned panel(kernel.panel_bytes(p.shape));
  kernel.make_panel(p.shape, p.weight.data(), panel.get());
  const Rows in_form(p, kernel.rows);
  TileArgs args{};
  args.shape = p.shape;
  args.panel = panel.get();
  args.weight = p.weight.data();
  args.m = p.m;
  args.rows = in_form.bases.data();
  args.runs = in_form.runs.data();
  args.run_count = p.runs.size();
  args.stride = (p.shape.n + 31) / 32 * 32 + 32 * random().between(0, 1);
  // One guard beyond the last row, for builds without the address sanitizer.
  std::vector<std::int32_t> got(p.m * args.stride + 1, kGuard);
  args.popcounts = got.data();
  kernel.tile(args);
  for (std::size_t m = 0; m < p.m; ++m) {
    for (std::size_t n = 0; n < p.shape.n; ++n) {
      const std::int32_t want = count(p, m, n), is = got[m * args.stride + n];
      check(is == want, "m %zu/%zu n %zu/%zu taps %zu tap_bits %zu runs %zu: %d, not %d", m, p.m, n,
            p.shape.n, p.shape.taps, p.shape.tap_bits, p.runs.size(), is, want);
    }
  }
  check(got.back() == kGuard, "wrote beyond the last row: m %zu n %zu stride %zu", p.m, p.shape.n,
        args.stride);
}

void random_shapes(const BgemmKernel& kernel) {
  for (int round = 0; round < effort(4000); ++round) {
    const std::size_t n = random().one_in(2) ? random().between(1, 200) : random().between(1, 40);
    const std::size_t taps = random().pick({1, 1, 2, 3, 4, 9, 9, 25});
    const std::size_t tap_bits =
        random().one_in(2) ? random().between(1, 600)
                           : random().pick({1, 3, 31, 32, 33, 63, 64, 65, 96, 100, 128, 129, 256});
    const PanelShape shape = panel_shape(n, taps, tap_bits);
    compare(kernel, make(shape, random().between(1, kernel.mr), some_runs(shape), Fill::kRandom,
                         Fill::kRandom));
  }
}

// Every number of rows with every small number of filters: the tails of both.
void tails(const BgemmKernel& kernel) {
  for (std::size_t m = 1; m <= kernel.mr; ++m) {
    for (std::size_t n = 1; n <= 100; n += effort(100) == 100 ? 1 : 7) {
      const PanelShape shape = panel_shape(n, 2, random().between(1, 130));
      compare(kernel, make(shape, m, some_runs(shape), Fill::kRandom, Fill::kRandom));
    }
  }
}

// Every bit differs, for every length up to some thousand: a counter that is widened one step too
// late overflows at some of them.
void all_bits_differ(const BgemmKernel& kernel) {
  const std::size_t step = effort(100) == 100 ? 1 : 13;
  for (std::size_t tap_bits = 1; tap_bits <= 5300; tap_bits += step) {
    const std::size_t taps = tap_bits % 3 == 0 ? 9 : 1;
    const PanelShape shape = panel_shape(random().between(1, 5), taps, tap_bits);
    const bool ones_in_x = random().one_in(2);
    compare(kernel,
            make(shape, random().between(1, kernel.mr), some_runs(shape),
                 ones_in_x ? Fill::kOnes : Fill::kZeros, ones_in_x ? Fill::kZeros : Fill::kOnes));
  }
}

// Rows and filters of all ones or all zeros, in any mix: kernels that count two rows in one byte
// must keep a full counter out of its empty neighbour.
void full_beside_empty(const BgemmKernel& kernel) {
  const auto fill = [] { return random().one_in(2) ? Fill::kOnes : Fill::kZeros; };
  const auto append = [](std::vector<word_t>& to, const std::vector<word_t>& rows) {
    to.insert(to.end(), rows.begin(), rows.end());
  };
  for (int round = 0; round < effort(400); ++round) {
    Product p;
    p.shape = panel_shape(random().between(1, 70), random().pick({1, 1, 4, 9}),
                          random().between(1, 3000));
    p.m = random().between(1, kernel.mr);
    const std::size_t k_words = p.shape.taps * p.shape.tap_words;
    p.runs = {{0, 0, p.shape.taps, 0, k_words}};
    p.row_step = static_cast<std::ptrdiff_t>(k_words);
    for (std::size_t m = 0; m < p.m; ++m) {
      append(p.x, packed_rows(random(), p.shape.taps, p.shape.tap_bits, fill()));
    }
    for (std::size_t n = 0; n < p.shape.n; ++n) {
      append(p.weight, packed_rows(random(), p.shape.taps, p.shape.tap_bits, fill()));
    }
    compare(kernel, p);
  }
}

// The panel of the first filters begins the whole one: threads share a layer's filters that way.
void panels_begin_alike(const BgemmKernel& kernel) {
  for (const std::size_t n : {1, 33, 127, 128, 300}) {
    const PanelShape whole = panel_shape(2 * kFilterBlock + n, 3, random().between(1, 200));
    const auto weight = packed_rows(random(), whole.n * whole.taps, whole.tap_bits);
    const Aligned panel(kernel.panel_bytes(whole));
    kernel.make_panel(whole, weight.data(), panel.get());
    for (const std::size_t filters : {kFilterBlock, 2 * kFilterBlock}) {
      const PanelShape part = panel_shape(filters, whole.taps, whole.tap_bits);
      const std::size_t bytes = kernel.panel_bytes(part);
      const Aligned part_panel(bytes);
      kernel.make_panel(part, weight.data(), part_panel.get());
      check(bytes == 0 || std::memcmp(panel.get(), part_panel.get(), bytes) == 0,
            "the panel of %zu filters does not begin that of %zu", filters, whole.n);
    }
  }
}

// More than 65,535 differing bits, and more than 2^20: beyond the limits of 16-bit sums.
void long_sums(const BgemmKernel& kernel) {
  const PanelShape shapes[] = {panel_shape(3, 1, 65535),  panel_shape(33, 1, 65536),
                               panel_shape(2, 1, 70001),  panel_shape(65, 9, 8200),
                               panel_shape(1, 49, 2049),  panel_shape(17, 2, 131071),
                               panel_shape(2, 1, 1 << 20)};
  for (const PanelShape& shape : shapes) {
    for (const bool random_bits : {false, true}) {
      const std::size_t k_words = shape.taps * shape.tap_words;
      compare(kernel, make(shape, kernel.mr, {{0, 0, shape.taps, 0, k_words}},
                           random_bits ? Fill::kRandom : Fill::kOnes,
                           random_bits ? Fill::kRandom : Fill::kZeros));
    }
  }
}

// Hundreds of taps: kernels that walk a list of them fill it more than once.
void many_taps(const BgemmKernel& kernel) {
  for (const std::size_t taps : {255, 256, 257, 961}) {
    for (const std::size_t tap_bits : {1, 40, 64, 65, 130}) {
      const PanelShape shape = panel_shape(random().between(1, 40), taps, tap_bits);
      compare(kernel, make(shape, random().between(1, kernel.mr), some_runs(shape), Fill::kRandom,
                           Fill::kRandom));
    }
  }
}

// A pixel whose taps are all padding: every count is 0.
void no_runs(const BgemmKernel& kernel) {
  for (const std::size_t n : {1, 31, 64, 100}) {
    compare(kernel, make(panel_shape(n, 9, 64), kernel.mr, {}, Fill::kRandom, Fill::kRandom));
  }
}

const Registration table([] {
  std::size_t size = 0;
  const BgemmKernel* kernels = bgemm_kernels(&size);
  for (std::size_t i = 0; i < size; ++i) {
    const BgemmKernel& kernel = kernels[i];
    const std::string name = kernel.name;
    add(name + "/random_shapes", kernel.needs, [&kernel] { random_shapes(kernel); });
    add(name + "/tails", kernel.needs, [&kernel] { tails(kernel); });
    add(name + "/all_bits_differ", kernel.needs, [&kernel] { all_bits_differ(kernel); });
    add(name + "/full_beside_empty", kernel.needs, [&kernel] { full_beside_empty(kernel); });
    add(name + "/panels_begin_alike", kernel.needs, [&kernel] { panels_begin_alike(kernel); });
    add(name + "/long_sums", kernel.needs, [&kernel] { long_sums(kernel); });
    add(name + "/many_taps", kernel.needs, [&kernel] { many_taps(kernel); });
    add(name + "/no_runs", kernel.needs, [&kernel] { no_runs(kernel); });
  }
});

}  // namespace

BNN_TEST(bgemm_selection) {
  std::size_t size = 0;
  const BgemmKernel* kernels = bgemm_kernels(&size);
  for (int i = 0; i < kIsaCount; ++i) {
    const Isa isa = static_cast<Isa>(i);
    for (const std::size_t rows : {0, 1, 2, 3, 7, 8, 64, 1000000}) {
      const BgemmKernel& chosen = select_bgemm(rows, isa);
      check(isa_includes(isa, chosen.needs), "%s for %s", chosen.name, isa_name(isa));
      check(rows >= chosen.min_rows, "%s for %zu rows", chosen.name, rows);
      for (std::size_t k = 0; k < size; ++k) {
        const bool serves = isa_includes(isa, kernels[k].needs) && rows >= kernels[k].min_rows;
        check(!serves || kernels[k].priority <= chosen.priority, "%s, though %s serves %zu rows",
              chosen.name, kernels[k].name, rows);
      }
    }
  }
}

// Names are file stems, which end in the ISA; two rows of a priority would make the choice depend
// on the order of the table.
BNN_TEST(bgemm_table) {
  std::size_t size = 0;
  const BgemmKernel* kernels = bgemm_kernels(&size);
  for (std::size_t i = 0; i < size; ++i) {
    const std::string name = kernels[i].name, isa = isa_name(kernels[i].needs);
    check(name.size() > isa.size() + 2 &&
              name.compare(name.size() - isa.size() - 2, std::string::npos, "__" + isa) == 0,
          "%s needs %s", name.c_str(), isa.c_str());
    check(kernels[i].mr >= 1, "%s has no rows", name.c_str());
    for (std::size_t j = 0; j < i; ++j) {
      check(kernels[i].priority != kernels[j].priority, "%s and %s have one priority", name.c_str(),
            kernels[j].name);
    }
  }
}

}  // namespace bnn::test
