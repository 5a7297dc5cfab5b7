#include "targets/artifact_card.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "io/json.h"
#include "models/model_card.h"

namespace qwodel {
namespace {

std::string scheme_text(const GroupIntScheme& scheme) {
  if (scheme.codes == CodeKind::float8) return "8-bit floats (E4M3), one scale per row";
  return fmt::format("{}-bit integers, {}, {}", scheme.bits,
                     scheme.symmetric ? "symmetric" : "with zero points",
                     scheme.group_size == 0 ? std::string("one scale per row")
                                            : fmt::format("groups of {}", scheme.group_size));
}

// Keys whose value is one word or a list of words. JSON is YAML.
void add_kept_keys(const Checkpoint& source, std::string& front) {
  const CardValue card = load_model_card(source.directory());
  for (const char* key : {"license", "license_name", "license_link", "language", "pipeline_tag"}) {
    const CardValue* value = card.find(key);
    if (value == nullptr) continue;
    Json kept;
    if (value->kind == CardValue::Kind::text) kept = value->text;
    for (const CardValue& item : value->items) {
      if (value->kind == CardValue::Kind::list && item.kind == CardValue::Kind::text) {
        kept.push_back(item.text);
      }
    }
    if (!kept.is_null()) front += fmt::format("{}: {}\n", key, kept.dump());
  }
}

}  // namespace

std::string artifact_card(const Checkpoint& source, const LinearArtifact& artifact,
                          const Json& quantization_config) {
  const std::string name = source.directory().filename().string();
  const std::string method = quantization_config.value("quant_method", std::string());
  std::string text = "---\n";
  add_kept_keys(source, text);
  text += fmt::format("tags: {}\n---\n\n", Json({method, "qwodel"}).dump());
  text += fmt::format("# {}, quantized\n\n", name.empty() ? "A model" : name);
  text += fmt::format("Made by {} from the checkpoint {}.\n\n", artifact.producer, name);
  text += "| | |\n|---|---|\n";
  text += fmt::format("| format | {} |\n", method);
  text += fmt::format("| linears | {} |\n", scheme_text(artifact.scheme));
  if (!artifact.method.empty()) text += fmt::format("| method | {} |\n", artifact.method);
  if (artifact.damp_percent > 0) {
    text += fmt::format("| damping | {} of the mean of the Hessian's diagonal |\n",
                        artifact.damp_percent);
  }
  text += fmt::format("| left as they were | {} |\n", fmt::join(artifact.unquantized, ", "));
  return text;
}

}  // namespace qwodel
