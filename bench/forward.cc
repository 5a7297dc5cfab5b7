// Speed of the forward pass: SEQUENCES x LENGTH random tokens with all logits, which are thrown
// away.
//
//   forward MODEL [f32|bf16] [SEQUENCES LENGTH] [THREADS] [GRAM_ROUNDS]
//
// Prints wall and processor time; on a busy machine only the latter means something. With
// GRAM_ROUNDS, also what collecting Gram matrices costs: so many passes without and with them, one
// after the other, and the medians of their processor times.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "calibrate/collector.h"
#include "pipeline/running_model.h"

namespace {

struct Moment {
  std::chrono::steady_clock::time_point wall = std::chrono::steady_clock::now();
  double processor = 0;

  Moment() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](timeval t) {
      return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    processor = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }
};

void print_line(const char* what, const Moment& from, const Moment& to, std::size_t tokens) {
  const double wall = std::chrono::duration<double>(to.wall - from.wall).count();
  const double processor = to.processor - from.processor;
  fmt::print("{:8} {:7.2f} s wall, {:7.2f} s processor, {:7.1f} tokens/s, {:7.1f} per core\n", what,
             wall, processor, static_cast<double>(tokens) / wall,
             static_cast<double>(tokens) / processor);
}

std::vector<double> sorted(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values;
}

void compare_gram(const qwodel::Graph& graph, const qwodel::Executor& executor,
                  const qwodel::TokenSequences& tokens, int threads, std::size_t rounds) {
  std::vector<double> plain;
  std::vector<double> with_gram;
  for (std::size_t i = 0; i < rounds; ++i) {
    const Moment start;
    executor.forward(tokens);
    const Moment middle;
    qwodel::StatisticsCollector collector(
        graph, {.compute = executor.compute(), .threads = threads, .with_gram = true},
        {.on_sums = [](std::size_t, const qwodel::InputSums&) {},
         .on_gram = [](std::size_t, std::uint64_t, std::span<const float>) {},
         .on_stage_end = {}});
    executor.forward(tokens, &collector);
    const Moment end;
    plain.push_back(middle.processor - start.processor);
    with_gram.push_back(end.processor - middle.processor);
  }
  const double without = sorted(plain)[rounds / 2];
  const double with = sorted(with_gram)[rounds / 2];
  fmt::print("Gram     {:7.2f} s processor without, {:7.2f} s with: {:+.1f} %\n", without, with,
             100 * (with / without - 1));
}

}  // namespace

int main(int argc, char** argv) {
  using namespace qwodel;
  if (argc < 2) return 2;
  RunOptions options;
  options.model = argv[1];
  if (argc > 2) options.compute = argv[2];
  const std::size_t sequences = argc > 4 ? std::stoul(argv[3]) : 8;
  const std::size_t length = argc > 4 ? std::stoul(argv[4]) : 512;
  if (argc > 5) options.threads = std::stoi(argv[5]);
  const RunningModel model(options);
  const Executor executor(model.graph, model.weights,
                          executor_options(options, model.graph.hidden_size));
  std::mt19937 random(1);
  TokenSequences tokens;
  for (std::size_t s = 0; s < sequences; ++s) {
    std::vector<std::uint32_t> ids(length);
    for (auto& id : ids) id = static_cast<std::uint32_t>(random() % model.graph.vocab_size);
    tokens.append(ids);
  }
  const Moment start;
  const auto hidden = executor.forward(tokens);
  const Moment middle;
  constexpr std::size_t kRows = 1024;
  const std::size_t cols = std::min<std::size_t>(model.graph.vocab_size, 8192);
  std::vector<float> tile(kRows * cols);
  double sum = 0;
  for (std::size_t col = 0; col < model.graph.vocab_size; col += cols) {
    const std::size_t width = std::min<std::size_t>(cols, model.graph.vocab_size - col);
    for (std::size_t row = 0; row < hidden->tokens(); row += kRows) {
      const std::size_t rows = std::min<std::size_t>(kRows, hidden->tokens() - row);
      executor.logits(*hidden, row, col, {tile.data(), rows, width});
      sum += static_cast<double>(tile[0]);
    }
  }
  const Moment end;
  const std::size_t count = tokens.tokens.size();
  fmt::print("{} {} {}x{} (checksum {:.6g})\n", argv[1], name_of(executor.compute()), sequences,
             length, sum);
  print_line("forward", start, middle, count);
  print_line("logits", middle, end, count);
  print_line("both", start, end, count);
  if (argc > 6) compare_gram(model.graph, executor, tokens, options.threads, std::stoul(argv[6]));
}
