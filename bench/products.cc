// The graph's matrix products against oneDNN's own matmul primitive, in GFLOP/s on the same
// buffers: 512 tokens through the linears of SmolLM2-135M (rows padded to 768) and of a model
// of 1.1 billion weights.
//
// Both have their weights packed beforehand. The graph takes tiles of 256 rows, each on one thread
// of TBB; the primitive is given the whole matrix and the threads of OpenMP. Every round runs one
// after the other and both count as the median of their rounds, so that what disturbs one disturbs
// the other. Rates are per second of processor time: `share` is the graph's as a share of the
// primitive's (`wall_share`: of wall time), `peak` the primitive's as a share of what a core does
// from registers, measured just after.
//
// Options: those of Google Benchmark. Set OMP_WAIT_POLICY=passive when more than one thread runs:
// OpenMP's threads otherwise go on spinning after the primitive's round and take the cores from the
// graph's.
#include <benchmark/benchmark.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>
#include <vector>

#include "bench/register_peak.h"
#include "graph/aligned_buffer.h"
#include "graph/matmul.h"
#include "graph/task_threads.h"
#include "kernels/convert.h"

namespace qwodel {
namespace {

using dnnl::memory;

constexpr std::size_t kTokens = 512;
constexpr std::size_t kTileRows = 256;      // as StageRunner
constexpr std::size_t kHeadColumns = 2048;  // as compute_logits(), for more than kManyColumns
constexpr std::size_t kManyColumns = 16384;

struct Shape {
  const char* model;
  std::size_t in;
  std::size_t out;
};

constexpr Shape kShapes[] = {
    {"pad768", 768, 768},   {"pad768", 768, 1536}, {"pad768", 1536, 768},
    {"pad768", 768, 49152}, {"1b", 2048, 2048},    {"1b", 2048, 256},
    {"1b", 2048, 5632},     {"1b", 5632, 2048},    {"1b", 2048, 32000},
};

// Of all threads. On a busy machine wall time says how busy it is.
double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Seconds {
  double wall = 0;
  double processor = 0;
};

Seconds seconds_of(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  const double processor = processor_seconds();
  work();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
          processor_seconds() - processor};
}

double median(std::vector<Seconds> rounds, double Seconds::* which) {
  const auto middle = rounds.begin() + static_cast<std::ptrdiff_t>(rounds.size() / 2);
  std::ranges::nth_element(rounds, middle, {}, which);
  return (*middle).*which;
}

void set_open_mp_threads(int threads) {
  auto* set = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (set != nullptr) set(threads);
}

std::vector<float> random_values(std::size_t count) {
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(generator);
  return values;
}

// What both multiply: rows in the type of the product, and the result.
template <class T>
struct Buffers {
  explicit Buffers(const Shape& shape) {
    const std::vector<float> values = random_values(kTokens * shape.in);
    in.reserve(values.size());
    out.reserve(kTokens * shape.out);
    if constexpr (sizeof(T) == 2) {
      float_to_bfloat16(values.data(), values.size(), in.data());
    } else {
      std::ranges::copy(values, in.data());
    }
  }
  AlignedBuffer<T> in;
  AlignedBuffer<float> out;
};

// As the executor runs a linear, or the vocabulary's.
template <class T>
class GraphProduct {
 public:
  GraphProduct(const Shape& shape, const std::vector<float>& weights, int threads)
      : shape_(shape), threads_(threads) {
    const std::size_t cols = shape.out > kManyColumns ? kHeadColumns : shape.out;
    const ConstMatrixView all(weights.data(), shape.out, shape.in);
    for (std::size_t first = 0; first < shape.out; first += cols) {
      const ConstMatrixView part = all.row_range(first, std::min(cols, shape.out - first));
      parts_.emplace_back(part.rows, shape.in, sizeof(T) == 2).pack(0, part);
    }
  }

  void run(Buffers<T>& buffers) const {
    constexpr std::size_t kTiles = kTokens / kTileRows;
    const Matrix<const T> in(buffers.in.data(), kTokens, shape_.in);
    const MatrixView out(buffers.out.data(), kTokens, shape_.out);
    threads_.run(kTiles * parts_.size(), [&](std::size_t i) {
      const std::size_t part = i / kTiles;
      const std::size_t row = i % kTiles * kTileRows;
      multiply_transposed(in.row_range(row, kTileRows), parts_[part], 0,
                          out.row_range(row, kTileRows)
                              .col_range(part * parts_.front().rows(), parts_[part].rows()));
    });
  }

 private:
  Shape shape_;
  TaskThreads threads_;
  std::vector<PackedMatrix> parts_;
};

class Primitive {
 public:
  Primitive(const Shape& shape, const std::vector<float>& weights, bool bf16) {
    const auto type = bf16 ? memory::data_type::bf16 : memory::data_type::f32;
    const auto m = static_cast<std::int64_t>(kTokens);
    const auto n = static_cast<std::int64_t>(shape.out);
    const auto k = static_cast<std::int64_t>(shape.in);
    in_ = memory::desc({m, k}, type, memory::format_tag::ab);
    out_ = memory::desc({m, n}, memory::data_type::f32, memory::format_tag::ab);
    const memory::desc any({k, n}, type, memory::format_tag::any);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(in_, any, out_), engine_);
    matmul_ = dnnl::matmul(description);
    weights_ = memory(description.weights_desc(), engine_);
    memory plain({{k, n}, memory::data_type::f32, memory::format_tag::ba}, engine_,
                 const_cast<float*>(weights.data()));
    dnnl::reorder(plain, weights_).execute(stream_, plain, weights_);
    stream_.wait();
  }

  void run(void* in, void* out) {
    matmul_.execute(stream_, {{DNNL_ARG_SRC, memory(in_, engine_, in)},
                              {DNNL_ARG_WEIGHTS, weights_},
                              {DNNL_ARG_DST, memory(out_, engine_, out)}});
    stream_.wait();
  }

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  memory::desc in_;
  memory::desc out_;
  memory weights_;
  dnnl::matmul matmul_;
};

template <class T>
void compare(benchmark::State& state, const Shape& shape, int threads) {
  const bool bf16 = sizeof(T) == 2;
  const std::vector<float> weights = random_values(shape.in * shape.out);
  Buffers<T> buffers(shape);
  const GraphProduct<T> graph(shape, weights, threads);
  set_open_mp_threads(threads);
  Primitive primitive(shape, weights, bf16);
  const auto run_graph = [&] { graph.run(buffers); };
  const auto run_primitive = [&] { primitive.run(buffers.in.data(), buffers.out.data()); };
  run_graph();
  run_primitive();
  std::vector<Seconds> own;
  std::vector<Seconds> peer;
  for (auto _ : state) {
    own.push_back(seconds_of(run_graph));
    peer.push_back(seconds_of(run_primitive));
  }
  const double flops = 2e-9 * static_cast<double>(kTokens * shape.in * shape.out);
  const double own_rate = flops / median(own, &Seconds::processor);
  const double peer_rate = flops / median(peer, &Seconds::processor);
  state.counters["graph"] = own_rate;
  state.counters["oneDNN"] = peer_rate;
  state.counters["share"] = own_rate / peer_rate;
  state.counters["wall_share"] = median(peer, &Seconds::wall) / median(own, &Seconds::wall);
  const double peak = bf16 ? register_peak_bf16() : register_peak_f32();
  if (peak > 0) state.counters["peak"] = peer_rate / peak;
}

void register_peak(benchmark::State& state, double (*measure)()) {
  double best = 0;
  for (auto _ : state) best = std::max(best, measure());
  state.counters["GFLOP/s"] = best;
}

const bool registered = [] {
  benchmark::RegisterBenchmark("registers/f32", register_peak, register_peak_f32)
      ->Iterations(5)
      ->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("registers/bf16", register_peak, register_peak_bf16)
      ->Iterations(5)
      ->Unit(benchmark::kMillisecond);
  for (const int threads : {1, 2}) {
    for (const Shape& shape : kShapes) {
      const auto add = [&](const char* type, auto* function) {
        benchmark::RegisterBenchmark(fmt::format("products/{}/{}x{}/{}/threads:{}", shape.model,
                                                 shape.in, shape.out, type, threads)
                                         .c_str(),
                                     function, shape, threads)
            ->Unit(benchmark::kMillisecond)
            ->UseRealTime();
      };
      add("f32", compare<float>);
      add("bf16", compare<std::uint16_t>);
    }
  }
  return true;
}();

}  // namespace
}  // namespace qwodel
