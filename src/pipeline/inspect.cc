#include <fmt/format.h>

#include "formats/checkpoint.h"
#include "formats/mlpackage/package.h"
#include "io/json.h"
#include "pipeline/metadata_text.h"
#include "pipeline/mlpackage_report.h"
#include "qwodel/inspect.h"

namespace qwodel {
namespace {

void add_config(const Json& config, Inspection& inspection) {
  if (const Json* classes = find_member(config, "architectures");
      classes != nullptr && classes->is_array() && !classes->empty() &&
      classes->front().is_string()) {
    inspection.architecture = classes->front().get<std::string>();
  }
  if (!config.is_object()) return;
  for (const auto& [key, value] : config.items()) {
    inspection.metadata.emplace_back(key, value_text(GgufValue(value.dump())));
  }
}

}  // namespace

Inspection inspect(const std::filesystem::path& path) {
  if (is_mlpackage(path)) return inspect_mlpackage(path);
  const auto checkpoint = open_checkpoint(path);
  Inspection inspection;
  inspection.path = path;
  if (const auto& metadata = checkpoint->gguf_metadata()) {
    inspection.format = "gguf";
    inspection.architecture = metadata->find_string("general.architecture").value_or("");
    for (const auto& [key, value] : metadata->entries()) {
      inspection.metadata.emplace_back(key, value_text(value));
    }
  } else {
    inspection.format = "checkpoint";
    add_config(checkpoint->config(), inspection);
  }
  for (const TensorInfo& tensor : checkpoint->tensors()) {
    inspection.parameters += element_count(tensor.shape);
    inspection.bytes += tensor.bytes.size();
    inspection.tensors.push_back(
        {tensor.name, std::string(info(tensor.type).name), tensor.shape, tensor.bytes.size()});
  }
  if (inspection.parameters > 0) {
    inspection.bits_per_weight =
        8.0 * static_cast<double>(inspection.bytes) / static_cast<double>(inspection.parameters);
  }
  return inspection;
}

}  // namespace qwodel
