#include "pipeline/run_record.h"

#include <fmt/format.h>

#include <span>
#include <string>

#include "io/atomic_file.h"
#include "io/json.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// What artifacts depend on, except for what each is named after: its target.
Json settings_of(const QuantizeOptions& options) {
  const CoremlPackageOptions& coreml = options.coreml;
  return {{"version", QWODEL_VERSION},
          {"model", std::filesystem::absolute(options.model).string()},
          {"imatrix", options.imatrix.string()},
          {"statistics", options.statistics.string()},
          {"calibration", options.calibration.text},
          {"samples", options.calibration.samples},
          {"seq_len", options.calibration.seq_len},
          {"compute", options.compute},
          {"method", options.method},
          {"true_sequential", options.true_sequential},
          {"desc_act", options.desc_act},
          {"awq_loss", options.awq_loss},
          {"mismatch_strength", options.mismatch_strength},
          {"outtype", options.outtype},
          {"tensor_types", options.tensor_types},
          {"output_tensor_type", options.output_tensor_type},
          {"token_embedding_type", options.token_embedding_type},
          {"pure", options.pure},
          {"leave_output_tensor", options.leave_output_tensor},
          {"arch_as", options.arch_as},
          {"tokenizer_pre", options.tokenizer_pre},
          {"model_name", options.model_name},
          {"minimum_target", coreml.minimum_target},
          {"form", coreml.form},
          {"context_length", coreml.context_length},
          {"sequence_lengths", coreml.sequence_lengths},
          {"last_logits_only", coreml.last_logits_only},
          {"granularity", coreml.granularity},
          {"pooling", coreml.pooling},
          {"max_shard_size", options.max_shard_size}};
}

// Throws DependencyError at the first difference.
void require_same(const Json& settings, const std::filesystem::path& path) {
  const Json record = read_json(path);
  for (const auto& [name, value] : settings.items()) {
    const auto found = record.find(name);
    if (found != record.end() && *found == value) continue;
    throw DependencyError(
        {.where = "--resume",
         .found = fmt::format("{} {}", name, value.dump()),
         .expected = fmt::format("{}, as in the run that is to go on ({})",
                                 found == record.end() ? "nothing" : found->dump(), path.string()),
         .remedy = "give the options of that run, or --force to make all artifacts anew"});
  }
}

}  // namespace

RunRecord::RunRecord(const QuantizeOptions& options)
    : path_(options.output.parent_path() /
            fmt::format(".{}.run.json", options.output.filename().string())) {
  const Json settings = settings_of(options);
  if (options.resume && !options.force && std::filesystem::exists(path_)) {
    require_same(settings, path_);
    kept_ = true;
    return;
  }
  const std::string text = settings.dump(1) + "\n";
  AtomicFile file(path_, text.size(), true);
  file.write_at(0, std::as_bytes(std::span(text)));
  file.commit();
}

RunRecord::~RunRecord() {
  std::error_code ignored;
  if (!kept_) std::filesystem::remove(path_, ignored);
}

}  // namespace qwodel
