#include "pipeline/running_model.h"

#include "models/build_graph.h"

namespace qwodel {

RunningModel::RunningModel(const RunOptions& options)
    : source(
          options.model,
          {.arch_as = options.arch_as, .tokenizer_pre = options.tokenizer_pre, .model_name = {}}),
      graph(build_graph(source.spec)),
      weights(graph, source.readers) {}

ExecutorOptions executor_options(const RunOptions& options) {
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
  result.threads = options.threads;
  result.progress = options.progress;
  result.cancel = options.cancel;
  return result;
}

std::string name_of(ComputeType compute) { return compute == ComputeType::bf16 ? "bf16" : "f32"; }

}  // namespace qwodel
