// bnn_tests [--seed N] [--effort PERCENT] [FILTER]: runs the cases whose name contains FILTER.
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <stdexcept>
#include <vector>

#include "check.h"

namespace bnn::test {

namespace {

struct Case {
  std::string name;
  Isa needs;
  std::function<void()> body;
};

// Made by its first caller: cases are added before main(), in any order of files.
std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

std::uint64_t seed = 1;
int effort_percent = 100;
Random current(0);

std::uint64_t seed_of(const std::string& name) {
  std::uint64_t hash = seed;
  for (const char c : name) hash = Random(hash ^ static_cast<unsigned char>(c)).bits();
  return hash;
}

struct Skipped {
  const char* why;
};

struct Counts {
  int passed = 0, failed = 0, skipped = 0;
};

void run(const Case& one, Counts& counts) {
  current = Random(seed_of(one.name));
  const auto begin = std::chrono::steady_clock::now();
  try {
    one.body();
  } catch (const Skipped& skipped) {
    ++counts.skipped;
    std::printf("skipped %s: %s\n", one.name.c_str(), skipped.why);
    return;
  } catch (const std::exception& error) {
    ++counts.failed;
    std::printf("FAILED  %s: %s (--seed %llu)\n", one.name.c_str(), error.what(),
                static_cast<unsigned long long>(seed));
    return;
  }
  ++counts.passed;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::printf("passed  %s (%.2f s)\n", one.name.c_str(), took.count());
}

int run_all(const char* filter) {
  Counts counts;
  std::set<std::string> told;
  std::printf("seed %llu, effort %d %%\n", static_cast<unsigned long long>(seed), effort_percent);
  for (const Case& one : cases()) {
    if (one.name.find(filter) == std::string::npos) continue;
    if (isa_runs(one.needs)) {
      run(one, counts);
    } else {
      ++counts.skipped;
      const std::string kernel = one.name.substr(0, one.name.find('/'));
      if (told.insert(kernel).second) {
        std::printf("skipped %s: this CPU does not run %s\n", kernel.c_str(), isa_name(one.needs));
      }
    }
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed, %d skipped\n", counts.passed, counts.failed, counts.skipped);
  return counts.failed == 0 && counts.passed > 0 ? 0 : 1;
}

int usage() {
  std::fprintf(stderr, "usage: bnn_tests [--seed N] [--effort PERCENT] [FILTER]\n");
  return 2;
}

}  // namespace

void add(const std::string& name, Isa needs, std::function<void()> body) {
  cases().push_back({name, needs, std::move(body)});
}

void add_for_each_isa(const char* operation, const char* property, void (*body)(Isa isa)) {
  for (int i = 0; i < kIsaCount; ++i) {
    const Isa isa = static_cast<Isa>(i);
    add(std::string(operation) + "__" + isa_name(isa) + "/" + property, isa,
        [body, isa] { body(isa); });
  }
}

void skip(const char* why) { throw Skipped{why}; }

void check(bool ok, const char* format, ...) {
  if (ok) return;
  char message[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  throw std::runtime_error(message);
}

int effort(int rounds) {
  const int scaled = rounds * effort_percent / 100;
  return scaled < 1 ? 1 : scaled;
}

Random& random() { return current; }

}  // namespace bnn::test

int main(int argc, char** argv) {
  const char* filter = "";
  for (int i = 1; i < argc; ++i) {
    const bool has_value = i + 1 < argc;
    if (std::strcmp(argv[i], "--seed") == 0 && has_value) {
      bnn::test::seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (std::strcmp(argv[i], "--effort") == 0 && has_value) {
      bnn::test::effort_percent = std::atoi(argv[++i]);
    } else if (argv[i][0] == '-') {
      return bnn::test::usage();
    } else {
      filter = argv[i];
    }
  }
  return bnn::test::run_all(filter);
}
