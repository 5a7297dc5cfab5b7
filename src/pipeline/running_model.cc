#include "pipeline/running_model.h"

#include <algorithm>

#include "models/build_graph.h"

namespace qwodel {

RunningModel::RunningModel(const RunOptions& options)
    : source(
          options.model,
          {.arch_as = options.arch_as, .tokenizer_pre = options.tokenizer_pre, .model_name = {}}),
      graph(build_graph(source.spec)),
      weights(graph, source.readers) {}

namespace {

// Shares of a memory cap when a model runs beside its original: hidden states, decoded weights,
// values of a batch, and Gram matrices take a quarter each.
void limit_memory(std::uint64_t cap, std::uint64_t hidden_size, ExecutorOptions& options) {
  constexpr std::uint64_t kPasses = 2;
  // Of a token in a layer of Llama's shape, with the copied rows of Gram matrices: 18 times the
  // hidden state.
  constexpr std::uint64_t kBatchBytesPerChannel = 72;
  constexpr std::uint64_t kFewestTokens = 512;
  options.hidden_memory = std::min(options.hidden_memory, cap / 4 / kPasses);
  options.weight_memory = std::min(options.weight_memory, cap / 4 / kPasses);
  const std::uint64_t tokens =
      cap / 4 / (kBatchBytesPerChannel * std::max<std::uint64_t>(hidden_size, 1));
  options.batch_tokens = std::clamp(tokens, kFewestTokens, options.batch_tokens);
}

}  // namespace

ExecutorOptions executor_options(const RunOptions& options, std::uint64_t hidden_size) {
  ExecutorOptions result;
  if (options.compute == "f32") {
    result.compute = ComputeType::f32;
  } else if (options.compute == "bf16") {
    result.compute = ComputeType::bf16;
  } else if (options.compute != "auto") {
    throw ValidationError({.where = "--compute",
                           .found = options.compute,
                           .expected = "auto, f32 or bf16",
                           .remedy = ""},
                          ErrorCode::usage);
  }
  if (options.max_memory > 0) limit_memory(options.max_memory, hidden_size, result);
  result.threads = options.threads;
  result.progress = options.progress;
  result.cancel = options.cancel;
  return result;
}

std::string name_of(ComputeType compute) { return compute == ComputeType::bf16 ? "bf16" : "f32"; }

}  // namespace qwodel
