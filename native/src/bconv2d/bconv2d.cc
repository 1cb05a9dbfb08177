// Binary convolution: cuts the output into tiles, and for each calls a kernel and the epilogue.
#include "bnn/bconv2d.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "bconv2d/depthwise_kernel.h"
#include "bconv2d/panel.h"
#include "bconv2d/regions.h"
#include "bnn/threads.h"
#include "epilogue/epilogue.h"

namespace bnn {

namespace {

constexpr std::size_t kDepthwiseRows = 8;
constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kGrainBits = 4 << 20;  // bit operations of about 10 us

struct Kernels {
  const char* name;
  void (*tile)(const TileArgs&);
  std::size_t mr;
  bool reads_panel;
  RowForm rows;
  std::size_t (*panel_bytes)(const PanelShape&);
  EpilogueKernel epilogue;
};

std::size_t rows_of(const ConvShape& shape) { return shape.batch * shape.out_h() * shape.out_w(); }

Kernels select(const ConvShape& shape, Isa isa) {
  if (is_depthwise(shape)) {
    const DepthwiseKernel& kernel = select_depthwise(isa);
    return {kernel.name,     kernel.tile, kDepthwiseRows,      true,
            RowForm::kWords, nullptr,     select_epilogue(isa)};
  }
  const BgemmKernel& kernel = select_bgemm(rows_of(shape), isa);
  return {kernel.name, kernel.tile,        kernel.mr,           &kernel == &panel_kernel(isa),
          kernel.rows, kernel.panel_bytes, select_epilogue(isa)};
}

// Everything that is the same for all tiles.
struct Job {
  const Convolution& conv;
  const std::vector<Region>& regions;
  const Kernels& kernels;
  const PanelPlan& plan;
  const word_t* weight;
  const char* panel_data;
  const Epilogue& epilogue;
  std::size_t stride;  // of the counts
  std::size_t parts;   // each tile's filters are cut into so many parts, of part_filters or fewer
  std::size_t part_filters;
};

// One thread's working memory, for tiles of up to `m` rows.
struct Scratch {
  std::unique_ptr<std::int32_t[]> own;  // not cleared: for one row, that would cost as much as it
  std::int32_t* popcounts;  // in `own`, aligned: no vector of counts crosses a cache line
  std::vector<const word_t*> bases;
  std::vector<const word_t*> rows;
  std::vector<std::size_t> pixels;

  Scratch(std::size_t m, std::size_t stride)
      : own(new std::int32_t[m * stride + kCacheLine]), bases(m), rows(m), pixels(m) {
    void* begin = own.get();
    std::size_t space = kCacheLine;
    popcounts = static_cast<std::int32_t*>(std::align(kCacheLine, 1, begin, space));
  }
};

// Finds the tile's pixels: their place in the output and the word of their first tap.
std::size_t locate(const Job& job, const Region& region, std::size_t tile, Scratch& scratch) {
  const ConvShape& s = job.conv.shape;
  const std::size_t out_h = s.out_h(), out_w = s.out_w();
  const std::size_t width = region.x.end - region.x.begin, height = region.y.end - region.y.begin;
  const std::size_t first = tile * job.kernels.mr;
  const std::size_t m = std::min(job.kernels.mr, s.batch * region.pixels() - first);
  const std::size_t step = s.stride_w * job.conv.pixel_words;
  std::size_t x = first % width, row = first / width;  // row: through all images
  for (std::size_t i = 0; i < m; ++row, x = 0) {
    const std::size_t image = row / height, oy = region.y.begin + row % height;
    const std::size_t ox = region.x.begin + x;
    std::size_t pixel = (image * out_h + oy) * out_w + ox;
    const word_t* base = job.conv.x;
    if (!region.runs.empty()) {
      const std::size_t iy = oy * s.stride_h + region.y.tap_begin * s.dilation_h - s.pad_top;
      const std::size_t ix = ox * s.stride_w + region.x.tap_begin * s.dilation_w - s.pad_left;
      base += ((image * s.height + iy) * s.width + ix) * job.conv.pixel_words;
    }
    for (const std::size_t end = std::min(m, i + width - x); i < end; ++i) {
      scratch.pixels[i] = pixel++;
      scratch.bases[i] = base;
      // Beyond the row's last pixel the sum might point outside the image.
      if (i + 1 < end && !region.runs.empty()) base += step;
    }
  }
  return m;
}

// Counts a tile's bits for the filters [begin, end), in the order of the groups: what a kernel
// writes beyond its filters, the next group overwrites.
void count(const Job& job, const Region& region, std::size_t m, std::size_t begin, std::size_t end,
           Scratch& scratch) {
  const PanelShape& group = job.plan.group;
  TileArgs args{};
  args.shape = group;
  args.m = m;
  args.runs = region.runs.data();
  args.run_count = region.runs.size();
  args.stride = job.stride;
  for (std::size_t n = begin; n < end; n += args.shape.n) {
    const std::size_t g = n / group.n, in_group = n % group.n;
    for (std::size_t i = 0; i < m; ++i) {
      scratch.rows[i] = scratch.bases[i] + g * job.conv.group_words;
    }
    args.rows = scratch.rows.data();
    if (job.panel_data != nullptr) {
      PanelShape before = group;
      before.n = in_group;
      const std::size_t skipped = in_group == 0 ? 0 : job.kernels.panel_bytes(before);
      args.panel = job.panel_data + g * job.plan.group_bytes + skipped;
    }
    args.weight = job.weight + n * group.taps * group.tap_words;
    args.shape.n = std::min(end - n, group.n - in_group);
    args.popcounts = scratch.popcounts + (n - begin);
    job.kernels.tile(args);
  }
}

void run_tile(const Job& job, const Region& region, std::size_t tile, std::size_t part,
              Scratch& scratch) {
  EpilogueTile out{};
  out.epilogue = &job.epilogue;
  out.channels = job.conv.shape.out_channels;
  out.begin = part * job.part_filters;
  out.end = std::min(out.begin + job.part_filters, out.channels);
  out.m = locate(job, region, tile, scratch);
  out.pixels = scratch.pixels.data();
  out.popcounts = scratch.popcounts;
  out.stride = job.stride;
  out.k = region.k;
  count(job, region, out.m, out.begin, out.end, scratch);
  job.kernels.epilogue(out);
}

void run_items(const Job& job, std::size_t begin, std::size_t end) {
  Scratch scratch(std::min(job.kernels.mr, rows_of(job.conv.shape)), job.stride);
  auto region = job.regions.begin();
  for (std::size_t item = begin; item < end; ++item) {
    const std::size_t tile = item / job.parts;
    while (region + 1 != job.regions.end() && (region + 1)->first_tile <= tile) ++region;
    run_tile(job, *region, tile - region->first_tile, item % job.parts, scratch);
  }
}

// How many filters make a part. All of them if there are tiles enough for the threads to share, for
// every part reads the rows again. Groups are not cut.
std::size_t part_filters(const ConvShape& shape, std::size_t tiles) {
  const std::size_t wanted = 16 * static_cast<std::size_t>(num_threads());
  if (wanted == 16 || tiles >= wanted || shape.groups != 1) return shape.out_channels;
  const std::size_t blocks = (shape.out_channels + kFilterBlock - 1) / kFilterBlock;
  const std::size_t parts = std::min(blocks, (wanted + tiles - 1) / tiles);
  return (blocks + parts - 1) / parts * kFilterBlock;
}

}  // namespace

const char* bconv2d_kernel(const ConvShape& shape, Isa isa) { return select(shape, isa).name; }

void bconv2d(const ConvShape& shape, const word_t* x, const word_t* weight, const void* panel,
             const Epilogue& epilogue, Isa isa) {
  if (rows_of(shape) == 0 || shape.out_channels == 0) return;
  const Kernels kernels = select(shape, isa);
  const Convolution conv = prepare(shape, x, kernels.rows);
  std::size_t tiles = 0;
  const std::vector<Region> cut = regions(conv, kernels.mr, &tiles);
  const PanelPlan plan = plan_panel(shape, panel_kernel(isa));
  const char* data = kernels.reads_panel && plan.bytes != 0
                         ? static_cast<const char*>(panel) + kPanelAlign
                         : nullptr;
  const std::size_t filters = std::min(part_filters(shape, tiles), shape.out_channels);
  const std::size_t parts = (shape.out_channels + filters - 1) / filters;
  // A kernel may write whole blocks: 64 more than the channels is room for any.
  const std::size_t stride = (words(filters) + 1) * kWordBits;
  const Job job{conv, cut, kernels, plan, weight, data, epilogue, stride, parts, filters};
  const std::size_t item_bits =
      kernels.mr * filters * shape.group_channels() * shape.kernel_h * shape.kernel_w;
  const std::size_t grain =
      std::max<std::size_t>(kGrainBits / std::max<std::size_t>(item_bits, 1), 1);
  parallel_for(tiles * parts, grain,
               [&](std::size_t begin, std::size_t end) { run_items(job, begin, end); });
}

}  // namespace bnn
