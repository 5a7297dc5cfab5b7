#include "models/transforms.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "qwodel/error.h"

namespace qwodel {
namespace {

void rotary(const RuleMatch& match, std::uint64_t heads, std::vector<ModelTensor>& out) {
  const TensorView view = whole_view(match);
  ModelTensor tensor{.name = match.name, .shape = match.tensor.shape, .parts = {}, .generated = {}};
  tensor.parts.push_back(rotary_view(match, view, heads));
  out.push_back(std::move(tensor));
}

}  // namespace

void throw_bad_shape(const RuleMatch& match, std::string expected) {
  throw ValidationError({.where = match.tensor.name,
                         .found = fmt::format("shape ({})", fmt::join(match.tensor.shape, ", ")),
                         .expected = std::move(expected),
                         .remedy = {}});
}

TensorView whole_view(const RuleMatch& match) {
  return whole_tensor(match.source, match.tensor.shape);
}

TensorView slice(TensorView view, std::size_t axis, std::uint64_t first, std::uint64_t rows) {
  view.offset += first * view.strides[axis];
  view.shape[axis] = rows;
  return view;
}

TensorView rotary_view(const RuleMatch& match, const TensorView& view, std::uint64_t heads) {
  if (view.shape.empty() || view.shape[0] % heads != 0 || view.shape[0] / heads % 2 != 0) {
    throw_bad_shape(match, fmt::format("an even number of rows for each of {} heads", heads));
  }
  const std::uint64_t half = view.shape[0] / heads / 2;
  TensorView result{.source = view.source, .offset = view.offset, .shape = {}, .strides = {}};
  result.shape = {heads, half, 2};
  result.strides = {2 * half * view.strides[0], view.strides[0], half * view.strides[0]};
  result.shape.insert(result.shape.end(), view.shape.begin() + 1, view.shape.end());
  result.strides.insert(result.strides.end(), view.strides.begin() + 1, view.strides.end());
  return result;
}

ModelTensor tensor_of(std::string name, TensorView view) {
  ModelTensor tensor{.name = std::move(name), .shape = view.shape, .parts = {}, .generated = {}};
  tensor.parts.push_back(std::move(view));
  return tensor;
}

void copy_tensor(const ModelContext&, const RuleMatch& match, std::vector<ModelTensor>& out) {
  out.push_back(tensor_of(match.name, whole_view(match)));
}

void rotary_q(const ModelContext& model, const RuleMatch& match, std::vector<ModelTensor>& out) {
  rotary(match, model.config.values.heads(), out);
}

void rotary_k(const ModelContext& model, const RuleMatch& match, std::vector<ModelTensor>& out) {
  rotary(match, model.config.values.kv_heads(), out);
}

void transpose(const ModelContext& model, const RuleMatch& match, std::vector<ModelTensor>& out) {
  const std::size_t axes = match.tensor.shape.size();
  if (axes == 1 || match.tensor.quantized) return copy_tensor(model, match, out);
  if (axes != 2) throw_bad_shape(match, "a matrix");
  TensorView view = whole_view(match);
  std::swap(view.shape[0], view.shape[1]);
  std::swap(view.strides[0], view.strides[1]);
  out.push_back(tensor_of(match.name, std::move(view)));
}

void plus_one(const ModelContext& model, const RuleMatch& match, std::vector<ModelTensor>& out) {
  copy_tensor(model, match, out);
  if (match.name.ends_with(".weight")) out.back().op = Elementwise::plus_one;
}

void split_gate_up(const ModelContext&, const RuleMatch& match, std::vector<ModelTensor>& out) {
  const std::vector<std::uint64_t>& shape = match.tensor.shape;
  if (shape.size() < 2 || shape[shape.size() - 2] % 2 != 0) {
    throw_bad_shape(match, "an even number of rows: gate and up");
  }
  const std::size_t axis = shape.size() - 2;
  const std::uint64_t half = shape[axis] / 2;
  std::string up = match.name;
  up.replace(up.find("gate"), 4, "up");
  out.push_back(tensor_of(match.name, slice(whole_view(match), axis, 0, half)));
  out.push_back(tensor_of(std::move(up), slice(whole_view(match), axis, half, half)));
}

}  // namespace qwodel
