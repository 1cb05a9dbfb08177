// A small test harness: named cases, a filter, a seed, and cases that need an ISA.
//
//   BNN_TEST(threads_cover_all) { check(num_threads() > 0, "num_threads() is %d", num_threads()); }
//
// Cases for the rows of a table of kernels are added by a Registration, which runs before main().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>

#include "bnn/isa.h"
#include "bnn/threads.h"

namespace bnn::test {

// Adds a case. Where the CPU does not run `needs`, it is printed as skipped.
void add(const std::string& name, Isa needs, std::function<void()> body);

// Adds the case "<operation>__<isa>/<property>" for every ISA.
void add_for_each_isa(const char* operation, const char* property, void (*body)(Isa isa));

struct Registration {
  explicit Registration(void (*adds)()) { adds(); }
};

#define BNN_TEST(name)                                               \
  static void name();                                                \
  static const ::bnn::test::Registration name##_registration(        \
      [] { ::bnn::test::add(#name, ::bnn::Isa::kPortable, name); }); \
  static void name()

// Ends the case as failed unless `ok`. Only in the thread that runs the case.
[[gnu::format(printf, 2, 3)]] void check(bool ok, const char* format, ...);

// Ends the case as skipped, and prints why.
[[noreturn]] void skip(const char* why);

// How many rounds a case should take: `rounds` times --effort percent, at least 1.
int effort(int rounds);

// A number of threads for one case, also when it fails.
struct Threads {
  explicit Threads(int threads) { set_num_threads(threads); }
  ~Threads() { set_num_threads(1); }
};

// SplitMix64: the same values with every compiler and library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // From `low` to `high`, both included.
  std::size_t between(std::size_t low, std::size_t high) {
    return low + static_cast<std::size_t>(bits() % (high - low + 1));
  }
  bool one_in(std::size_t n) { return between(1, n) == 1; }
  std::size_t pick(std::initializer_list<std::size_t> from) {
    return from.begin()[between(0, from.size() - 1)];
  }
  // -1 to 1.
  float real() { return static_cast<float>(bits() >> 40) / (1 << 23) - 1.0f; }

 private:
  std::uint64_t state_;
};

// Of the running case: seeded with --seed and the case's name, so a filter does not change it.
Random& random();

}  // namespace bnn::test
