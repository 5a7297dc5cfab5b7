// Codes of a checkpoint that is quantized already, in another file format: nothing is rounded.
#include <fmt/format.h>

#include <optional>

#include "graph/task_threads.h"
#include "pipeline/linear_quantizer.h"
#include "pipeline/progress_meter.h"
#include "qwodel/error.h"
#include "sources/grouped.h"

namespace qwodel {
namespace {

// The codes that the checkpoint stores, when `scheme` can hold them: zero points in the middle are
// zero points too.
std::optional<GroupIntMatrix> codes_for(const SourceModel& model, const PlannedLinear& linear) {
  const GroupIntScheme& scheme = linear.scheme;
  auto matrix = stored_codes(*model.weights->find(model.spec.sources[linear.source]));
  if (!matrix || scheme.codes != CodeKind::integer) return std::nullopt;
  const GroupIntScheme& found = matrix->scheme;
  const bool fits = matrix->group_index.empty() && found.bits == scheme.bits &&
                    found.group_size == scheme.group_of(linear.in_features) &&
                    (found.symmetric || !scheme.symmetric) &&
                    found.scale_format == scheme.scale_format;
  if (!fits) return std::nullopt;
  matrix->scheme.symmetric = scheme.symmetric;
  return matrix;
}

class RepackingQuantizer final : public LinearQuantizer {
 public:
  RepackingQuantizer(const LinearTask& task, bool strict) : task_(task), strict_(strict) {}

  void run(const Sink& sink) const override {
    const TaskThreads threads(task_.threads);
    threads.run(task_.plan.linears.size(), [&](std::size_t i) {
      throw_if_cancelled(task_.cancel);
      if (task_.is_finished(i)) return;
      const PlannedLinear& linear = task_.plan.linears[i];
      const std::vector<float> values = read_linear(task_.model, linear);
      const ConstMatrixView view(values.data(), static_cast<std::size_t>(linear.out_features),
                                 static_cast<std::size_t>(linear.in_features));
      auto matrix = codes_for(task_.model, linear);
      if (!matrix && strict_) refuse(linear, task_.model);
      if (!matrix) {
        sink(i, round_linear(view, {}, linear.scheme, true));
        return;
      }
      QuantizedLinear result{.matrix = std::move(*matrix), .errors = {}, .method = "repack"};
      result.errors = matrix_errors(view, result.matrix);
      sink(i, result);
    });
  }

 private:
  [[noreturn]] static void refuse(const PlannedLinear& linear, const SourceModel& model) {
    const auto stored = stored_codes(*model.weights->find(model.spec.sources[linear.source]));
    const bool reordered = stored && !stored->group_index.empty();
    throw FormatNotSupportedError(
        {.where = linear.module,
         .found = reordered ? "groups of columns in order of activation (g_idx, desc_act)"
                            : "codes that the target cannot hold as they are",
         .expected = fmt::format("{} bits, groups of {}{}, scales in 16 bits", linear.scheme.bits,
                                 linear.scheme.group_of(linear.in_features),
                                 linear.scheme.symmetric ? ", symmetric" : ""),
         .remedy = "choose the target of the same bits and group size, or --method search"});
  }

  LinearTask task_;
  bool strict_;
};

}  // namespace

bool can_repack(const SourceModel& model, const PlannedLinear& linear) {
  return codes_for(model, linear).has_value();
}

std::unique_ptr<LinearQuantizer> make_repacking_quantizer(const LinearTask& task, bool strict) {
  return std::make_unique<RepackingQuantizer>(task, strict);
}

}  // namespace qwodel
