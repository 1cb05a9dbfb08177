// Binary convolution: cuts the output into tiles, and for each calls a kernel and the epilogue.
#include "bnn/bconv2d.h"

#include <algorithm>

#include "bconv2d/depthwise_kernel.h"
#include "bconv2d/plan.h"
#include "bnn/threads.h"
#include "thread_memory.h"

namespace bnn {

namespace {

constexpr std::size_t kDepthwiseRows = 8;

// To find the thresholds takes as long as the products of some 400 rows. With fewer rows than these
// there is little to gain; and where all counts of all channels are more, it takes 10 ms.
constexpr std::size_t kRowsToCompare = 16;
constexpr std::size_t kMostTried = std::size_t{1} << 25;

constexpr std::size_t kGrainBits = 4 << 20;  // bit operations of about 10 us

std::size_t rows_of(const ConvShape& shape) { return shape.batch * shape.out_h() * shape.out_w(); }

ConvKernels select(const ConvShape& shape, Isa isa) {
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
  const ConvKernels& kernels;
  const PanelPlan& plan;
  const word_t* weight;
  const char* panel_data;
  const Epilogue& epilogue;
  std::size_t stride;  // of the counts
  std::size_t parts;   // each tile's filters are cut into so many parts, of part_filters or fewer
  std::size_t part_filters;
  const std::vector<Thresholds>& thresholds;  // none: the epilogue is computed
  const std::vector<std::size_t>& of_region;
};

// One thread's working memory, for tiles of up to `m` rows. It is not cleared: for one row, that
// would cost as much as the row.
struct Scratch {
  ThreadMemory memory;
  std::int32_t* popcounts;  // aligned: no vector of counts crosses a cache line
  const word_t** bases;
  const word_t** rows;
  std::size_t* pixels;

  Scratch(std::size_t m, std::size_t stride)
      : memory(m *
               (stride * sizeof(*popcounts) + sizeof(*bases) + sizeof(*rows) + sizeof(*pixels))),
        popcounts(memory.as<std::int32_t>()),
        bases(reinterpret_cast<const word_t**>(popcounts + m * stride)),
        rows(bases + m),
        pixels(reinterpret_cast<std::size_t*>(rows + m)) {}
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
    args.rows = scratch.bases;
    if (g != 0) {
      for (std::size_t i = 0; i < m; ++i) {
        scratch.rows[i] = scratch.bases[i] + g * job.conv.group_words;
      }
      args.rows = scratch.rows;
    }
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

void run_tile(const Job& job, std::size_t which, std::size_t tile, std::size_t part,
              Scratch& scratch) {
  const Region& region = job.regions[which];
  EpilogueTile out{};
  out.epilogue = &job.epilogue;
  out.channels = job.conv.shape.out_channels;
  out.begin = part * job.part_filters;
  out.end = std::min(out.begin + job.part_filters, out.channels);
  out.m = locate(job, region, tile - region.first_tile, scratch);
  out.pixels = scratch.pixels;
  out.popcounts = scratch.popcounts;
  out.stride = job.stride;
  out.k = region.k;
  out.thresholds = job.thresholds.empty() ? nullptr : &job.thresholds[job.of_region[which]];
  count(job, region, out.m, out.begin, out.end, scratch);
  job.kernels.epilogue(out);
}

void run_items(const Job& job, std::size_t begin, std::size_t end) {
  Scratch scratch(std::min(job.kernels.mr, rows_of(job.conv.shape)), job.stride);
  std::size_t region = 0;
  for (std::size_t item = begin; item < end; ++item) {
    const std::size_t tile = item / job.parts;
    while (region + 1 < job.regions.size() && job.regions[region + 1].first_tile <= tile) ++region;
    run_tile(job, region, tile, item % job.parts, scratch);
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

BConv2dPlan::BConv2dPlan(const ConvShape& shape, Isa isa)
    : shape_(shape), kernels_(select(shape, isa)), sizes_(prepare(shape, kernels_.rows)) {
  if (rows_of(shape) == 0 || shape.out_channels == 0) return;
  regions_ = regions(sizes_, kernels_.mr, &tiles_);
  panel_ = plan_panel(shape, panel_kernel(isa));
}

bool BConv2dPlan::compare_counts(const Epilogue& epilogue) {
  if (rows_of(shape_) < kRowsToCompare) return false;
  std::vector<std::int32_t> found;  // numbers of bits
  std::vector<Thresholds> thresholds;
  std::vector<std::size_t> of_region;
  for (const Region& region : regions_) {
    const auto same = std::find(found.begin(), found.end(), region.k);
    of_region.push_back(static_cast<std::size_t>(same - found.begin()));
    if (same != found.end()) continue;
    if (static_cast<std::size_t>(region.k) * shape_.out_channels > kMostTried) return false;
    auto some = find_thresholds(epilogue, shape_.out_channels, region.k, kernels_.epilogue);
    if (!some) return false;
    found.push_back(region.k);
    thresholds.push_back(std::move(*some));
  }
  thresholds_ = std::move(thresholds);
  of_region_ = std::move(of_region);
  return true;
}

void BConv2dPlan::run(const word_t* x, const word_t* weight, const void* panel,
                      const Epilogue& epilogue) const {
  if (tiles_ == 0) return;
  const ThreadMemory room(sizes_.room_words * sizeof(word_t));
  const Convolution conv = prepare(shape_, kernels_.rows, x, room.as<word_t>());
  const char* data = kernels_.reads_panel && panel_.bytes != 0
                         ? static_cast<const char*>(panel) + kPanelAlign
                         : nullptr;
  const std::size_t filters = std::min(part_filters(shape_, tiles_), shape_.out_channels);
  const std::size_t parts = (shape_.out_channels + filters - 1) / filters;
  // A kernel may write whole blocks: 64 more than the channels is room for any.
  const std::size_t stride = (words(filters) + 1) * kWordBits;
  const Job job{conv,     regions_, kernels_, panel_,  weight,      data,
                epilogue, stride,   parts,    filters, thresholds_, of_region_};
  const std::size_t item_bits =
      kernels_.mr * filters * shape_.group_channels() * shape_.kernel_h * shape_.kernel_w;
  const std::size_t grain =
      std::max<std::size_t>(kGrainBits / std::max<std::size_t>(item_bits, 1), 1);
  parallel_for(tiles_ * parts, grain,
               [&](std::size_t begin, std::size_t end) { run_items(job, begin, end); });
}

void bconv2d(const ConvShape& shape, const word_t* x, const word_t* weight, const void* panel,
             const Epilogue& epilogue, Isa isa) {
  BConv2dPlan(shape, isa).run(x, weight, panel, epilogue);
}

}  // namespace bnn
