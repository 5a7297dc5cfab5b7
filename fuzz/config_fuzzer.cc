// Descriptions of models: the input is a config.json, a zero byte and a JSON document whose
// "checkpoint" lists tensors as [name, [extents]] (the golden.json of tests/golden/models).
#include <algorithm>
#include <vector>

#include "core/checked.h"
#include "fuzz/memory_file.h"
#include "io/json.h"
#include "models/describe.h"

namespace {

using qwodel::Json;

// The tensors; none when the document is not of this form. Products of extents are checked by the
// readers of containers before a model sees them.
std::vector<qwodel::SourceTensor> tensors_of(const Json& document) {
  std::vector<qwodel::SourceTensor> tensors;
  const Json* list = qwodel::find_member(document, "checkpoint");
  if (list == nullptr || !list->is_array()) return {};
  for (const Json& entry : *list) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_array()) {
      return {};
    }
    qwodel::SourceTensor tensor{entry[0].get<std::string>(), {}};
    for (const Json& extent : entry[1]) {
      if (!extent.is_number_unsigned()) return {};
      tensor.shape.push_back(extent.get<std::uint64_t>());
    }
    const auto count = qwodel::checked_product(tensor.shape);
    if (!count || *count > std::uint64_t{1} << 40) return {};
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

// Aborts when a view reaches behind its source.
void check_views(const qwodel::ModelSpec& spec, const std::vector<qwodel::SourceTensor>& tensors) {
  for (const qwodel::ModelTensor& tensor : spec.tensors) {
    for (const qwodel::TensorView& view : tensor.parts) {
      const std::string& name = spec.sources.at(view.source);
      const auto source = std::ranges::find(tensors, name, &qwodel::SourceTensor::name);
      if (source == tensors.end()) std::abort();
      if (std::ranges::find(view.shape, 0u) != view.shape.end()) continue;
      std::uint64_t last = view.offset;
      for (std::size_t i = 0; i < view.shape.size(); ++i) {
        last += (view.shape[i] - 1) * view.strides[i];
      }
      if (last >= qwodel::element_count(source->shape)) std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(text.find('\0'), size);
  return qwodel::fuzz([&] {
    const Json config = qwodel::parse_json(text.substr(0, end), "config.json");
    const Json list =
        end < size ? qwodel::parse_json(text.substr(end + 1), "tensors") : Json(nullptr);
    const auto tensors = tensors_of(list);
    const qwodel::ModelOptions options;
    const std::filesystem::path nowhere = "/nonexistent";
    const auto choice = qwodel::choose_model(nowhere, config, tensors, options);
    const qwodel::ModelContext model{*choice.row, choice.config, options,
                                     nowhere,     tensors,       choice.config.values.layers()};
    check_views(qwodel::describe_without_vocabulary(model, config), tensors);
  });
}
