// Look-up of counts, 2 pixels by 96 filters, on data in the first-level cache.
//
// A pair of pixels has 8 bits for each 4 input channels; they choose one of 256 tables, which holds
// for every 4 bits of a weight the counts of both pixels, in the two halves of a byte. A lane's
// byte is a filter: VPSHUFB looks up 32 of them. Three look-ups are added (3 * 4 = 12 < 16), then
// the sum to one byte accumulator and its upper half, which VPMULHUW shifts down, to a second: the
// multiplier is idle otherwise, while shifts compete with the look-ups for a port.
#include <immintrin.h>

#include <cstdint>

#include "roof/roof.h"

namespace bnn::roof_2x96__avx2 {

namespace {

constexpr int kVectors = 3;
constexpr std::size_t kTriples = 20;  // 60 groups of 4 channels: what a byte can count
constexpr std::size_t kPairs = 32;

alignas(64) unsigned char tables[256 * 16];
alignas(64) unsigned char weights[kTriples][3][kVectors][32];
std::uint16_t pixels[kPairs][kTriples][3];  // where in `tables` a pair's 4 + 4 bits find theirs

// Real tables, any weights and pixels. All must be written: pages that never were are one and the
// same zeros in memory, and reading them by several addresses is slow.
bool fill() {
  std::uint32_t state = 1;
  const auto random = [&state] { return (state = state * 1664525 + 1013904223) >> 24; };
  for (int a = 0; a < 256; ++a) {
    for (int w = 0; w < 16; ++w) {
      const int low = __builtin_popcount((a ^ w) & 15), high = __builtin_popcount((a >> 4) ^ w);
      tables[a * 16 + w] = static_cast<unsigned char>(low | high << 4);
    }
  }
  for (auto& triple : weights) {
    for (auto& group : triple) {
      for (auto& vector : group) {
        for (unsigned char& filter : vector) filter = static_cast<unsigned char>(random() & 15);
      }
    }
  }
  for (auto& pair : pixels) {
    for (auto& triple : pair) {
      for (std::uint16_t& pixel : triple) pixel = static_cast<std::uint16_t>(random() * 16);
    }
  }
  return true;
}

__m256i look_up(__m256i table, const unsigned char* of) {
  return _mm256_shuffle_epi8(table, _mm256_load_si256(reinterpret_cast<const __m256i*>(of)));
}

void pair(std::size_t p, __m256i (*counts)[kVectors]) {
  const __m256i sixteenth = _mm256_set1_epi16(1 << 12);
  __m256i both[kVectors], upper[kVectors];
  for (int v = 0; v < kVectors; ++v) both[v] = upper[v] = _mm256_setzero_si256();
  for (std::size_t t = 0; t < kTriples; ++t) {
    __m256i table[3];
    for (int i = 0; i < 3; ++i) {
      const auto* found = reinterpret_cast<const __m128i*>(tables + pixels[p][t][i]);
      table[i] = _mm256_broadcastsi128_si256(*found);
    }
    for (int v = 0; v < kVectors; ++v) {
      __m256i sum = look_up(table[0], weights[t][0][v]);
      sum = _mm256_add_epi8(sum, look_up(table[1], weights[t][1][v]));
      sum = _mm256_add_epi8(sum, look_up(table[2], weights[t][2][v]));
      both[v] = _mm256_add_epi8(both[v], sum);
      upper[v] = _mm256_add_epi8(upper[v], _mm256_mulhi_epu16(sum, sixteenth));
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    counts[0][v] = both[v];
    counts[1][v] = upper[v];
  }
}

}  // namespace

std::size_t run(std::size_t steps) {
  static const bool filled = fill();
  static_cast<void>(filled);
  alignas(64) __m256i counts[kPairs][2][kVectors];
  for (std::size_t step = 0; step < steps; ++step) {
    for (std::size_t p = 0; p < kPairs; ++p) pair(p, counts[p]);
    // The counts are read, and all the rest might be other by now.
    asm volatile("" : : "r"(counts), "r"(tables), "r"(weights), "r"(pixels) : "memory");
  }
  return 2 * steps * kPairs * kTriples * 3 * kVectors * 256;
}

}  // namespace bnn::roof_2x96__avx2
