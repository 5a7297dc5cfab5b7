// Compression of Core ML weights, in values per second, on rows as a bfloat16 checkpoint has them.
// Options: those of Google Benchmark.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <vector>

#include "bench/rows.h"
#include "core/half.h"
#include "targets/coreml/weight_encoder.h"

namespace qwodel {
namespace {

constexpr std::size_t kRows = 64;

const std::vector<WeightScheme> kSchemes = {
    {.form = WeightForm::linear, .bits = 8},
    {.form = WeightForm::linear, .bits = 4, .block = 32},
    {.form = WeightForm::palette, .bits = 4, .group_rows = 1},
    {.form = WeightForm::palette, .bits = 4, .group_rows = 16},
    {.form = WeightForm::palette, .bits = 6, .group_rows = 16},
    {.form = WeightForm::palette, .bits = 4},
    {.form = WeightForm::palette, .bits = 6},
    {.form = WeightForm::palette, .bits = 8},
};

std::vector<std::uint16_t> bench_halves() {
  std::vector<std::uint16_t> halves;
  for (const float value : bench_values(kRows)) {
    halves.push_back(float_to_half(bfloat16_to_float(float_to_bfloat16(value))));
  }
  return halves;
}

void encode_weight(benchmark::State& state, const WeightScheme& scheme, bool weighted) {
  const std::vector<std::uint16_t> halves = bench_halves();
  const HalfMatrix rows(halves.data(), kRows, kBenchCols);
  const std::vector<float> importance = weighted ? bench_importance() : std::vector<float>();
  for (auto _ : state) {
    WeightEncoder encoder(scheme, {.search = weighted, .importance = importance}, kRows,
                          kBenchCols);
    if (encoder.needs_scan()) {
      encoder.scan(rows);
      encoder.finish_scan();
    }
    const EncodedRows encoded = encoder.encode(rows, true);
    benchmark::DoNotOptimize(encoded.stored.codes.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(halves.size()));
}

const bool registered = [] {
  for (const WeightScheme& scheme : kSchemes) {
    const std::string name = fmt::format("coreml/{}", name_of(scheme));
    benchmark::RegisterBenchmark(name.c_str(), encode_weight, scheme, false);
    benchmark::RegisterBenchmark((name + "/importance").c_str(), encode_weight, scheme, true);
  }
  return true;
}();

}  // namespace
}  // namespace qwodel
