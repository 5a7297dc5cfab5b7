#include "models/describe.h"
#include "models/metadata.h"
#include "models/model_spec.h"
#include "tokenizer/vocabulary.h"

namespace qwodel {

ModelSpec describe_model(const std::filesystem::path& directory, const Json& config,
                         std::span<const SourceTensor> tensors, const ModelOptions& options) {
  const ModelChoice choice = choose_model(directory, config, tensors, options);
  const ModelClass& row = *choice.row;
  const ModelContext model{row,       choice.config, options,
                           directory, tensors,       choice.config.values.layers()};
  ModelSpec spec = describe_without_vocabulary(model, config);
  MetadataWriter out(row.architecture, spec.metadata);
  if (row.before_vocabulary != nullptr) row.before_vocabulary(model, out);
  const VocabularyRequest request{
      .directory = directory,
      .kinds = {row.vocabulary.begin(), row.vocabulary.end()},
      .vocab_size = choice.config.values.find_count({"vocab_size"}).value_or(0),
      .pre = options.tokenizer_pre,
      .added_tokens = row.added_tokens};
  const VocabularyKind kind = add_vocabulary(request, spec.metadata);
  if (row.after_vocabulary != nullptr) row.after_vocabulary(model, kind, out);
  return spec;
}

}  // namespace qwodel
