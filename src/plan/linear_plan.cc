#include "plan/linear_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "formats/tensor_info.h"
#include "graph/edges.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::string_view kSuffix = ".weight";
constexpr std::string_view kTiedHead = "lm_head";
constexpr std::string_view kBase = "model.";

// Router logits, or a gate of one value per token: their rounding moves tokens between experts.
bool decides_routing(const Stage& stage, const Op& op) {
  if (stage.values[op.output].width == 1) return true;
  return std::ranges::any_of(stage.ops, [&](const Op& reader) {
    return std::holds_alternative<RouteOp>(reader.kind) && reader.inputs[0] == op.output;
  });
}

class Planner {
 public:
  // Without a scheme, linears that are stored in another way are left out.
  Planner(const ModelSpec& spec, const Graph& graph, const std::vector<SourceTensor>& tensors,
          const GroupIntScheme* scheme)
      : spec_(spec), graph_(graph), scheme_(scheme) {
    for (const SourceTensor& tensor : tensors) shapes_.emplace(tensor.name, &tensor.shape);
    find_outside(tensors);
  }

  LinearPlan run() {
    for (std::size_t s = 0; s < graph_.stages.size(); ++s) {
      const bool layer = s > 0 && s + 1 < graph_.stages.size();
      for (std::size_t o = 0; o < graph_.stages[s].ops.size(); ++o) {
        const WeightId weight = linear_weight(graph_.stages[s].ops[o]);
        if (weight == kNoId) continue;
        const bool keep = !layer || decides_routing(graph_.stages[s], graph_.stages[s].ops[o]);
        const bool by_head = std::holds_alternative<HeadLinearOp>(graph_.stages[s].ops[o].kind);
        const auto& parts = spec_.tensors[graph_.weights[weight].tensor].parts;
        for (std::size_t part = 0; part < parts.size(); ++part) {
          if (seen_.insert(parts[part].source).second) add(weight, part, keep, by_head);
        }
      }
    }
    name_head();
    if (plan_.linears.empty() && scheme_ != nullptr) {
      throw FormatNotSupportedError({.where = spec_.architecture,
                                     .found = "no linear in any layer",
                                     .expected = "a decoder",
                                     .remedy = "use gguf:Q8_0"});
    }
    return std::move(plan_);
  }

 private:
  void find_outside(const std::vector<SourceTensor>& tensors) {
    std::set<std::string_view> inside;  // all modules that hold a weight of the graph
    for (const std::string& name : spec_.sources) {
      for (std::size_t dot = name.find('.'); dot != std::string::npos;
           dot = name.find('.', dot + 1)) {
        inside.insert(std::string_view(name).substr(0, dot));
      }
    }
    std::set<std::string> found;
    for (const SourceTensor& tensor : tensors) {
      const std::string_view name = tensor.name;
      if (tensor.shape.size() != 2 || !name.ends_with(kSuffix)) continue;
      std::size_t dot = name.find('.');
      while (dot != std::string_view::npos && inside.contains(name.substr(0, dot))) {
        dot = name.find('.', dot + 1);
      }
      if (dot == std::string_view::npos) continue;
      std::string_view module = name.substr(0, dot);
      if (module.starts_with(kBase)) module.remove_prefix(kBase.size());
      found.emplace(module);
    }
    found.erase(std::string(kTiedHead));
    plan_.outside.assign(found.begin(), found.end());
  }

  void add(WeightId weight, std::size_t part, bool keep, bool by_head) {
    const TensorView& view = spec_.tensors[graph_.weights[weight].tensor].parts[part];
    const std::string& name = spec_.sources[view.source];
    const bool named = name.ends_with(kSuffix);
    const std::string module = named ? name.substr(0, name.size() - kSuffix.size()) : name;
    if (keep) {
      plan_.unquantized.push_back(is_embedding(weight) ? std::string(kTiedHead) : module);
      return;
    }
    const std::vector<std::uint64_t>& shape = *shapes_.at(name);
    const bool rows = by_head || (!view.strides.empty() && view.strides.back() == 1);
    if (!named || shape.size() != 2 || !rows) {
      if (scheme_ == nullptr) return;
      throw FormatNotSupportedError(
          {.where = fmt::format("tensor \"{}\"", name),
           .found =
               fmt::format("shape {} that is no [out_features, in_features]", shape_text(shape)),
           .expected = "a linear whose rows are its outputs",
           .remedy = "use a gguf target for this model"});
    }
    plan_.linears.push_back({.module = module,
                             .source = view.source,
                             .weight = weight,
                             .part = part,
                             .out_features = shape[0],
                             .in_features = shape[1],
                             .scheme = scheme_ == nullptr ? GroupIntScheme() : *scheme_,
                             .reason = "linear of a decoder layer"});
  }

  // Readers call the head lm_head whatever the checkpoint calls it (GPT-NeoX: embed_out).
  void name_head() {
    const bool has_head = std::ranges::any_of(
        graph_.stages.back().ops, [](const Op& op) { return linear_weight(op) != kNoId; });
    if (has_head && std::ranges::find(plan_.unquantized, kTiedHead) == plan_.unquantized.end()) {
      plan_.unquantized.emplace_back(kTiedHead);
    }
  }

  // A head without a matrix of its own: what reads the artifact still has a module for it.
  bool is_embedding(WeightId weight) const {
    return std::ranges::any_of(graph_.stages.front().ops, [&](const Op& op) {
      const auto* embedding = std::get_if<EmbeddingOp>(&op.kind);
      return embedding != nullptr &&
             graph_.weights[embedding->weight].tensor == graph_.weights[weight].tensor;
    });
  }

  const ModelSpec& spec_;
  const Graph& graph_;
  const GroupIntScheme* scheme_;
  std::unordered_map<std::string_view, const std::vector<std::uint64_t>*> shapes_;
  std::set<std::uint32_t> seen_;
  LinearPlan plan_;
};

}  // namespace

LinearPlan plan_linears(const ModelSpec& spec, const Graph& graph,
                        const std::vector<SourceTensor>& tensors, const GroupIntScheme& scheme) {
  return Planner(spec, graph, tensors, &scheme).run();
}

LinearPlan find_linears(const ModelSpec& spec, const Graph& graph,
                        const std::vector<SourceTensor>& tensors) {
  return Planner(spec, graph, tensors, nullptr).run();
}

}  // namespace qwodel
