// write_logits: one forward pass, then rows of the vocabulary's products into a NumPy file.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "graph/head.h"
#include "io/atomic_file.h"
#include "pipeline/running_model.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kRows = 256;  // of logits in memory at once

// NumPy's format 1.0: magic, length of the header, header padded to 64 bytes.
std::string npy_header(std::uint64_t rows, std::uint64_t cols) {
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  constexpr std::size_t kPrefix = 10;
  while ((kPrefix + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() & 0xFF);
  file += static_cast<char>(header.size() >> 8);
  return file + header;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

LogitsReport write_logits(const RunOptions& options, std::span<const std::uint32_t> tokens,
                          const std::filesystem::path& output) {
  const RunningModel model(options);
  require_logits(model.graph, options.model.string());
  const Executor executor(model.graph, model.weights,
                          executor_options(options, model.graph.hidden_size));
  TokenSequences sequences;
  sequences.append(tokens);
  const auto start = std::chrono::steady_clock::now();
  const auto hidden = executor.forward(sequences);
  LogitsReport report{.tokens = tokens.size(),
                      .vocab_size = model.graph.vocab_size,
                      .compute = name_of(executor.compute()),
                      .forward_seconds = seconds_since(start)};
  const auto middle = std::chrono::steady_clock::now();
  const auto vocab = static_cast<std::size_t>(model.graph.vocab_size);
  const std::string header = npy_header(tokens.size(), vocab);
  AtomicFile file(output, header.size() + tokens.size() * vocab * sizeof(float), true);
  file.write_at(0, std::as_bytes(std::span(header)));
  std::vector<float> rows(static_cast<std::size_t>(kRows) * vocab);
  for (std::uint64_t first = 0; first < tokens.size(); first += kRows) {
    const auto count = static_cast<std::size_t>(std::min(kRows, tokens.size() - first));
    executor.logits(*hidden, first, 0, {rows.data(), count, vocab});
    file.write_at(header.size() + first * vocab * sizeof(float),
                  std::as_bytes(std::span(rows).first(count * vocab)));
  }
  file.commit();
  report.logits_seconds = seconds_since(middle);
  return report;
}

}  // namespace qwodel
