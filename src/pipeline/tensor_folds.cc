#include "pipeline/tensor_folds.h"

#include "pipeline/artifact_job.h"
#include "pipeline/block_loss.h"
#include "pipeline/calibration.h"
#include "pipeline/fold_weights.h"

namespace qwodel {
namespace {

LinearPlan quantized_linears(const SourceModel& model, const Graph& graph,
                             const TensorFolds::SchemeOf& scheme_of) {
  LinearPlan linears = find_linears(model.spec, graph, source_tensors(*model.weights));
  std::erase_if(linears.linears, [&](PlannedLinear& linear) {
    const auto scheme = scheme_of(model.spec.tensors[graph.weights[linear.weight].tensor].name);
    if (!scheme) return true;
    linear.scheme = *scheme;
    const std::uint64_t group = scheme->group_of(linear.in_features);
    return linear.in_features % group != 0 || group % 4 != 0;
  });
  return linears;
}

}  // namespace

TensorFolds::TensorFolds(const QuantizeOptions& options, const SourceModel& model,
                         const Graph& graph, const SchemeOf& scheme_of,
                         const StatisticsFile& statistics)
    : statistics_(statistics),
      linears_(quantized_linears(model, graph, scheme_of)),
      block_tokens_(block_loss_tokens(options, model, graph)),
      task_{.model = model,
            .graph = graph,
            .plan = linears_,
            .cancel = options.cancel,
            .threads = thread_count(options),
            .compute = product_type(options, graph),
            .block_tokens = block_tokens_ ? &*block_tokens_ : nullptr},
      folds_(find_awq_folds(task_, statistics)),
      weights_(graph, model.spec, *model.weights) {
  fold_weights(task_, folds_, weights_);
  for (std::size_t i = 0; i < linears_.linears.size(); ++i) {
    const PlannedLinear& linear = linears_.linears[i];
    const GraphWeight& weight = graph.weights[linear.weight];
    if (!folds_.columns[i].empty()) scaled_tensors_.insert(model.spec.tensors[weight.tensor].name);
    const auto input = statistics.find(weight.name);
    if (!input) continue;
    const bool whole = statistics.inputs()[*input].parts == 1;
    readers_of_.emplace(std::pair(*input, whole ? 0 : linear.part), i);
  }
}

const std::vector<float>* TensorFolds::columns(std::size_t input, std::size_t part) const {
  const auto reader = readers_of_.find({input, part});
  if (reader == readers_of_.end() || folds_.columns[reader->second].empty()) return nullptr;
  return &folds_.columns[reader->second];
}

void TensorFolds::divide(std::size_t input, std::size_t part, SecondMoments& moments) const {
  const std::vector<float>* scales = columns(input, part);
  if (scales == nullptr) return;
  divide_channels(moments, *scales);
}

void TensorFolds::divide(std::size_t input, std::size_t width,
                         std::vector<float>& mean_squares) const {
  const bool whole = statistics_.inputs()[input].parts == 1;
  for (std::size_t part = 0; part < mean_squares.size() / width; ++part) {
    const std::vector<float>* scales = columns(input, whole ? 0 : part);
    if (scales == nullptr) continue;
    for (std::size_t c = 0; c < width; ++c) {
      mean_squares[part * width + c] /= (*scales)[c] * (*scales)[c];
    }
  }
}

}  // namespace qwodel
