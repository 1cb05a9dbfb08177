// Times the roofs' loops.
#include "bnn/roof.h"

#include <algorithm>
#include <chrono>

#include "roof/roof.h"

namespace bnn {

#define BNN_ROOF(name, isa, what)     \
  namespace name {                    \
  std::size_t run(std::size_t steps); \
  }
#include "roof/roof.inc"
#undef BNN_ROOF

namespace {

struct Row {
  Isa isa;
  RoofLoop run;
  const char* what;
};

constexpr Row kRows[] = {
#define BNN_ROOF(name, isa, what) {isa, name::run, #name ": " what},
#include "roof/roof.inc"
#undef BNN_ROOF
};

constexpr int kRuns = 1000;
constexpr double kRunSeconds = 20e-6;  // shorter than what interrupts a busy machine's threads

const Row& row_of(Isa isa) {
  const Row* found = kRows;
  for (const Row& row : kRows) {
    if (row.isa == isa) found = &row;
  }
  return *found;
}

// Operations per second of one run.
double time_run(const Row& row, std::size_t steps, double* seconds) {
  const auto begin = std::chrono::steady_clock::now();
  const std::size_t operations = row.run(steps);
  *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return static_cast<double>(operations) / std::max(*seconds, 1e-9);
}

}  // namespace

const char* roof_loop(Isa isa) { return row_of(isa).what; }

double roof(Isa isa) {
  const Row& row = row_of(isa);
  std::size_t steps = 1;
  double seconds = 0, best = 0;
  while (time_run(row, steps, &seconds), seconds < kRunSeconds) steps *= 2;
  for (int i = 0; i < kRuns; ++i) best = std::max(best, time_run(row, steps, &seconds));
  return best * 1e-9;
}

}  // namespace bnn
