#include "sources/parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "qwodel/error.h"
#include "sources/gguf_blocks.h"
#include "sources/plain.h"

namespace qwodel {

Parts::Parts(const Checkpoint& checkpoint)
    : checkpoint_(checkpoint), slots_(checkpoint.tensors().size()) {}

Parts::Slot& Parts::slot_of(const TensorInfo& stored) {
  return slots_[static_cast<std::size_t>(&stored - checkpoint_.tensors().data())];
}

std::vector<std::string> Parts::bases_of(std::string_view suffix) const {
  std::vector<std::string> bases;
  for (const TensorInfo& tensor : checkpoint_.tensors()) {
    if (!tensor.name.ends_with(suffix)) continue;
    bases.push_back(tensor.name.substr(0, tensor.name.size() - suffix.size()));
  }
  return bases;
}

const TensorInfo* Parts::take(const std::string& base, std::string_view suffix) {
  const TensorInfo* part = checkpoint_.find(base + std::string(suffix));
  if (part != nullptr) slot_of(*part).taken = true;
  return part;
}

const TensorInfo& Parts::require(const std::string& base, std::string_view suffix) {
  const TensorInfo* part = take(base, suffix);
  if (part != nullptr) return *part;
  throw ValidationError({.where = fmt::format("tensor \"{}\"", base),
                         .found = fmt::format("no part \"{}{}\"", base, suffix),
                         .expected = "all parts of a quantized weight",
                         .remedy = "download the missing shard or a complete checkpoint"});
}

void Parts::drop(std::string_view suffix) {
  for (const TensorInfo& tensor : checkpoint_.tensors()) {
    if (tensor.name.ends_with(suffix)) slot_of(tensor).taken = true;
  }
}

void Parts::replace(const TensorInfo& stored, std::unique_ptr<WeightTensor> tensor) {
  slot_of(stored).tensor = std::move(tensor);
}

void Parts::append(std::unique_ptr<WeightTensor> tensor) { appended_.push_back(std::move(tensor)); }

std::vector<std::unique_ptr<WeightTensor>> Parts::finish() {
  std::vector<std::unique_ptr<WeightTensor>> tensors;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const TensorInfo& stored = checkpoint_.tensors()[i];
    if (slots_[i].tensor != nullptr) {
      tensors.push_back(std::move(slots_[i].tensor));
    } else if (!slots_[i].taken) {
      tensors.push_back(info(stored.type).is_quantized() ? make_block_tensor(stored)
                                                         : make_plain_tensor(stored));
    }
  }
  std::ranges::move(appended_, std::back_inserter(tensors));
  std::unordered_set<std::string_view> names;
  for (const auto& tensor : tensors) {
    if (names.insert(tensor->name()).second) continue;
    throw ValidationError({.where = fmt::format("tensor \"{}\"", tensor->name()),
                           .found = "both a plain and a quantized version",
                           .expected = "one of them",
                           .remedy = "use a checkpoint that stores every weight once"});
  }
  return tensors;
}

void expect_part(const TensorInfo& part, const std::vector<std::uint64_t>& shape,
                 std::initializer_list<TensorType> types) {
  if (part.shape == shape && std::ranges::find(types, part.type) != types.end()) return;
  std::string names;
  for (const TensorType type : types) {
    if (!names.empty()) names += " or ";
    names += info(type).name;
  }
  throw ValidationError(
      {.where = fmt::format("tensor \"{}\"", part.name),
       .found = fmt::format("{} {}", info(part.type).name, shape_text(part.shape)),
       .expected = fmt::format("{} {}", names, shape_text(shape)),
       .remedy = "check quantization_config in config.json"});
}

}  // namespace qwodel
