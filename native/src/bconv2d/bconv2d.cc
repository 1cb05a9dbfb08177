// Binary convolution: cuts the output into tiles, and for each calls a kernel and the epilogue.
#include "bnn/bconv2d.h"

#include <algorithm>
#include <vector>

#include "bconv2d/depthwise_kernel.h"
#include "bconv2d/panel.h"
#include "bconv2d/regions.h"
#include "bnn/threads.h"
#include "epilogue/epilogue.h"

namespace bnn {

namespace {

constexpr std::size_t kDepthwiseRows = 8;
constexpr std::size_t kGrainBits = 4 << 20;  // bit operations of about 10 us

struct Kernels {
  const char* name;
  void (*tile)(const TileArgs&);
  std::size_t mr;
  bool reads_panel;
  EpilogueKernel epilogue;
};

std::size_t rows_of(const ConvShape& shape) { return shape.batch * shape.out_h() * shape.out_w(); }

Kernels select(const ConvShape& shape, Isa isa) {
  if (is_depthwise(shape)) {
    const DepthwiseKernel& kernel = select_depthwise(isa);
    return {kernel.name, kernel.tile, kDepthwiseRows, true, select_epilogue(isa)};
  }
  const BgemmKernel& kernel = select_bgemm(rows_of(shape), isa);
  return {kernel.name, kernel.tile, kernel.mr, &kernel == &panel_kernel(isa), select_epilogue(isa)};
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
};

// One thread's working memory.
struct Scratch {
  std::vector<std::int32_t> popcounts;
  std::vector<const word_t*> bases;
  std::vector<const word_t*> rows;
  std::vector<std::size_t> pixels;

  Scratch(std::size_t mr, std::size_t stride)
      : popcounts(mr * stride), bases(mr), rows(mr), pixels(mr) {}
};

// Finds the tile's pixels: their place in the output and the word of their first tap.
std::size_t locate(const Job& job, const Region& region, std::size_t tile, Scratch& scratch) {
  const ConvShape& s = job.conv.shape;
  const std::size_t out_h = s.out_h(), out_w = s.out_w();
  const std::size_t width = region.x.end - region.x.begin, height = region.y.end - region.y.begin;
  const std::size_t first = tile * job.kernels.mr;
  const std::size_t m = std::min(job.kernels.mr, s.batch * region.pixels() - first);
  std::size_t x = first % width, y = first / width % height, image = first / region.pixels();
  for (std::size_t i = 0; i < m; ++i) {
    const std::size_t oy = region.y.begin + y, ox = region.x.begin + x;
    scratch.pixels[i] = (image * out_h + oy) * out_w + ox;
    scratch.bases[i] = job.conv.x;
    if (!region.runs.empty()) {
      const std::size_t iy = oy * s.stride_h + region.y.tap_begin * s.dilation_h - s.pad_top;
      const std::size_t ix = ox * s.stride_w + region.x.tap_begin * s.dilation_w - s.pad_left;
      scratch.bases[i] += ((image * s.height + iy) * s.width + ix) * job.conv.pixel_words;
    }
    if (++x == width) {
      x = 0;
      if (++y == height) {
        y = 0;
        ++image;
      }
    }
  }
  return m;
}

void run_tile(const Job& job, const Region& region, std::size_t tile, Scratch& scratch) {
  const ConvShape& s = job.conv.shape;
  const std::size_t m = locate(job, region, tile, scratch);
  const std::size_t groups = is_depthwise(s) ? 1 : s.groups;
  const PanelShape& shape = job.plan.group;
  TileArgs args{};
  args.shape = shape;
  args.m = m;
  args.rows = scratch.rows.data();
  args.runs = region.runs.data();
  args.run_count = region.runs.size();
  args.stride = job.stride;
  // Groups in their order: what a kernel writes beyond its filters, the next group overwrites.
  for (std::size_t g = 0; g < groups; ++g) {
    for (std::size_t i = 0; i < m; ++i) {
      scratch.rows[i] = scratch.bases[i] + g * job.conv.group_words;
    }
    args.panel = job.panel_data + g * job.plan.group_bytes;
    args.weight = job.weight + g * shape.n * shape.taps * shape.tap_words;
    args.popcounts = scratch.popcounts.data() + g * shape.n;
    job.kernels.tile(args);
  }
  EpilogueTile out{};
  out.epilogue = &job.epilogue;
  out.channels = s.out_channels;
  out.m = m;
  out.pixels = scratch.pixels.data();
  out.popcounts = scratch.popcounts.data();
  out.stride = job.stride;
  out.k = region.k;
  job.kernels.epilogue(out);
}

void run_tiles(const Job& job, std::size_t begin, std::size_t end) {
  Scratch scratch(job.kernels.mr, job.stride);
  auto region = job.regions.begin();
  for (std::size_t tile = begin; tile < end; ++tile) {
    while (region + 1 != job.regions.end() && (region + 1)->first_tile <= tile) ++region;
    run_tile(job, *region, tile - region->first_tile, scratch);
  }
}

}  // namespace

const char* bconv2d_kernel(const ConvShape& shape, Isa isa) { return select(shape, isa).name; }

void bconv2d(const ConvShape& shape, const word_t* x, const word_t* weight, const void* panel,
             const Epilogue& epilogue, Isa isa) {
  if (rows_of(shape) == 0 || shape.out_channels == 0) return;
  const Kernels kernels = select(shape, isa);
  const Convolution conv = prepare(shape, x);
  std::size_t tiles = 0;
  const std::vector<Region> cut = regions(conv, kernels.mr, &tiles);
  const PanelPlan plan = plan_panel(shape, panel_kernel(isa));
  const char* data = kernels.reads_panel && plan.bytes != 0
                         ? static_cast<const char*>(panel) + kPanelAlign
                         : nullptr;
  // A kernel may write whole blocks: 64 more than the channels is room for any.
  const Job job{conv,   cut,  kernels,  plan,
                weight, data, epilogue, (words(shape.out_channels) + 1) * kWordBits};
  const std::size_t tile_bits =
      kernels.mr * shape.out_channels * shape.group_channels() * shape.kernel_h * shape.kernel_w;
  const std::size_t grain =
      std::max<std::size_t>(kGrainBits / std::max<std::size_t>(tile_bits, 1), 1);
  parallel_for(tiles, grain,
               [&](std::size_t begin, std::size_t end) { run_tiles(job, begin, end); });
}

}  // namespace bnn
