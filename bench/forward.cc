// Speed of the forward pass: SEQUENCES x LENGTH random tokens with all logits, which are thrown
// away.
//
//   forward MODEL [f32|bf16] [SEQUENCES LENGTH] [THREADS]
//
// Prints wall and processor time; on a busy machine only the latter means something.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <vector>

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
  const Executor executor(model.graph, model.weights, executor_options(options));
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
}
