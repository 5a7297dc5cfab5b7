// Encoding and decoding of every codec, in values per second. Options: those of Google Benchmark.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <vector>

#include "bench/rows.h"
#include "codecs/codec.h"
#include "core/tensor_type.h"

namespace qwodel {
namespace {

constexpr std::size_t kRows = 16;

void encode_rows(benchmark::State& state, const Codec* codec, bool weighted) {
  const std::vector<float> values = bench_values(kRows);
  const std::vector<float> importance = bench_importance();
  std::vector<std::byte> bytes(bytes_of(codec->type, values.size()).value());
  for (auto _ : state) {
    codec->encode(values.data(), kRows, kBenchCols, weighted ? importance.data() : nullptr,
                  bytes.data());
    benchmark::DoNotOptimize(bytes.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(values.size()));
}

void decode_rows(benchmark::State& state, const Codec* codec) {
  std::vector<float> values = bench_values(kRows);
  const std::vector<float> importance = bench_importance();
  std::vector<std::byte> bytes(bytes_of(codec->type, values.size()).value());
  codec->encode(values.data(), kRows, kBenchCols, importance.data(), bytes.data());
  for (auto _ : state) {
    codec->decode(bytes.data(), values.size(), values.data());
    benchmark::DoNotOptimize(values.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(values.size()));
}

const bool registered = [] {
  for (const Codec* codec : codecs()) {
    const std::string_view name = info(codec->type).name;
    if (!codec->needs_importance) {
      benchmark::RegisterBenchmark(fmt::format("encode/{}", name).c_str(), encode_rows, codec,
                                   false);
    }
    benchmark::RegisterBenchmark(fmt::format("encode/{}/importance", name).c_str(), encode_rows,
                                 codec, true);
    benchmark::RegisterBenchmark(fmt::format("decode/{}", name).c_str(), decode_rows, codec);
  }
  return true;
}();

}  // namespace
}  // namespace qwodel
