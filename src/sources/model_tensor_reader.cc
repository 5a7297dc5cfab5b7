#include "sources/model_tensor_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/checked.h"
#include "core/half.h"
#include "formats/tensor_info.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

using Part = ModelTensorReader::Part;

[[noreturn]] void fail(const ModelTensor& tensor, std::string found, std::string expected) {
  throw ValidationError({.where = fmt::format("tensor {}", tensor.name),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = "check that config.json belongs to these weights"});
}

// The furthest element a view touches, or nothing on overflow.
std::optional<std::uint64_t> last_element(const TensorView& view) {
  std::optional<std::uint64_t> last = view.offset;
  for (std::size_t axis = 0; axis < view.shape.size() && last; ++axis) {
    const auto span = checked_mul(view.shape[axis] - 1, view.strides[axis]);
    last = span ? checked_add(*last, *span) : std::nullopt;
  }
  return last;
}

// Drops axes of one and merges neighbours that step as one, so that a plain tensor has one axis.
void simplify(const TensorView& view, Part& part) {
  for (std::size_t axis = 0; axis < view.shape.size(); ++axis) {
    if (view.shape[axis] == 1) continue;
    const std::uint64_t run = view.shape[axis] * view.strides[axis];
    if (!part.shape.empty() && part.strides.back() == run) {
      part.shape.back() *= view.shape[axis];
      part.strides.back() = view.strides[axis];
    } else {
      part.shape.push_back(view.shape[axis]);
      part.strides.push_back(view.strides[axis]);
    }
  }
  if (part.shape.empty()) {
    part.shape.push_back(1);
    part.strides.push_back(1);
  }
}

// Source position of the first value of row `row`, where rows are all axes but the last `inner`.
std::uint64_t row_offset(const Part& part, std::uint64_t row, std::size_t inner) {
  std::uint64_t offset = part.offset;
  for (std::size_t axis = part.shape.size() - inner; axis-- > 0;) {
    offset += row % part.shape[axis] * part.strides[axis];
    row /= part.shape[axis];
  }
  return offset;
}

// The last axis is contiguous in the source: copy run by run.
void read_runs(const Part& part, std::uint64_t at, std::span<float> out) {
  const std::uint64_t cols = part.shape.back();
  while (!out.empty()) {
    const std::uint64_t col = at % cols;
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(cols - col, out.size()));
    part.source->read(row_offset(part, at / cols, 1) + col, out.first(length));
    out = out.subspan(length);
    at += length;
  }
}

// The second-last axis is contiguous in the source (a transposed matrix): read runs down the
// columns and scatter them.
void read_transposed(const Part& part, std::uint64_t at, std::span<float> out) {
  const std::size_t axes = part.shape.size();
  const std::uint64_t cols = part.shape[axes - 1];
  const std::uint64_t rows = part.shape[axes - 2];
  std::vector<float> column(static_cast<std::size_t>(std::min<std::uint64_t>(rows, out.size())));
  while (!out.empty()) {
    const std::uint64_t row = at / cols % rows;
    const std::uint64_t base = row_offset(part, at / cols / rows, 2) + row;
    const std::uint64_t col = at % cols;
    // Whole rows together when the range starts a row and holds one; else what is left of a row.
    const std::uint64_t whole_rows = col == 0 ? std::min(out.size() / cols, rows - row) : 0;
    const auto height = static_cast<std::size_t>(std::max<std::uint64_t>(whole_rows, 1));
    const auto width = static_cast<std::size_t>(
        whole_rows > 0 ? cols : std::min<std::uint64_t>(cols - col, out.size()));
    for (std::size_t c = 0; c < width; ++c) {
      const std::span<float> run(column.data(), height);
      part.source->read(base + (col + c) * part.strides[axes - 1], run);
      for (std::size_t r = 0; r < height; ++r) out[r * width + c] = run[r];
    }
    out = out.subspan(height * width);
    at += height * width;
  }
}

// No axis to exploit; such parts are vectors of a few thousand values (permuted biases).
void read_single_values(const Part& part, std::uint64_t at, std::span<float> out) {
  for (float& value : out) part.source->read(row_offset(part, at++, 0), {&value, 1});
}

bool is_transposed(const Part& part) {
  const std::size_t axes = part.strides.size();
  return part.strides.back() != 1 && axes >= 2 && part.strides[axes - 2] == 1;
}

void read_part(const Part& part, std::uint64_t at, std::span<float> out) {
  if (part.strides.back() == 1) {
    read_runs(part, at, out);
  } else if (is_transposed(part)) {
    read_transposed(part, at, out);
  } else {
    read_single_values(part, at, out);
  }
}

// Adds one in the precision the converter works in: half for half tensors, else float.
void add_one(std::span<float> values, TensorType source) {
  for (float& value : values) {
    value += 1.0f;
    if (source == TensorType::f16) value = half_to_float(float_to_half(value));
  }
}

// Calls visit(part, first value in the part, first value in the range, count) for each part that
// overlaps [first, first + count).
template <class Visit>
void for_overlapping(const std::vector<Part>& parts, std::uint64_t first, std::uint64_t count,
                     Visit visit) {
  for (const Part& part : parts) {
    const std::uint64_t begin = std::max(first, part.first);
    const std::uint64_t end = std::min(first + count, part.first + part.count);
    if (begin < end) visit(part, begin - part.first, begin - first, end - begin);
  }
}

}  // namespace

ModelTensorReader::ModelTensorReader(const ModelSpec& spec, const ModelTensor& tensor,
                                     const Weights& weights)
    : ModelTensorReader(spec, tensor, [&](std::string_view name) { return weights.find(name); }) {}

ModelTensorReader::ModelTensorReader(const ModelSpec& spec, const ModelTensor& tensor,
                                     const Find& find)
    : tensor_(&tensor) {
  const auto expected = checked_product(tensor.shape);
  if (!expected) fail(tensor, "a shape beyond 64 bits", "a smaller tensor");
  std::uint64_t count = tensor.generated.size();
  for (const TensorView& view : tensor.parts) {
    const std::string& name = spec.sources.at(view.source);
    Part& part = parts_.emplace_back();
    part.source = find(name);
    if (part.source == nullptr) fail(tensor, fmt::format("no tensor {}", name), "it");
    const auto values = checked_product(view.shape);
    if (!values) fail(tensor, "a view beyond 64 bits", "a smaller tensor");
    part.first = count;
    part.count = *values;
    part.offset = view.offset;
    if (*values > 0) {
      const auto last = last_element(view);
      if (!last || *last >= element_count(part.source->shape())) {
        fail(tensor, fmt::format("{} of shape {}", name, shape_text(part.source->shape())),
             fmt::format("values for shape {}", shape_text(tensor.shape)));
      }
    }
    simplify(view, part);
    count += *values;
  }
  if (count != *expected) {
    fail(tensor, fmt::format("{} values", count), shape_text(tensor.shape));
  }
}

void ModelTensorReader::read(std::uint64_t first, std::span<float> out) const {
  if (parts_.empty()) {
    std::copy_n(tensor_->generated.begin() + static_cast<std::ptrdiff_t>(first), out.size(),
                out.begin());
    return;
  }
  for_overlapping(parts_, first, out.size(),
                  [&](const Part& part, std::uint64_t at, std::uint64_t to, std::uint64_t count) {
                    const auto values =
                        out.subspan(static_cast<std::size_t>(to), static_cast<std::size_t>(count));
                    read_part(part, at, values);
                    if (tensor_->op == Elementwise::plus_one) add_one(values, part.source->type());
                  });
}

std::vector<std::span<const std::byte>> ModelTensorReader::storage(std::uint64_t first,
                                                                   std::uint64_t count) const {
  std::vector<std::span<const std::byte>> all;
  for_overlapping(parts_, first, count,
                  [&](const Part& part, std::uint64_t at, std::uint64_t, std::uint64_t values) {
                    if (part.strides.back() != 1) return;
                    const std::uint64_t cols = part.shape.back();
                    std::uint64_t low = row_offset(part, at / cols, 1);
                    std::uint64_t high = low;
                    for (std::uint64_t row = at / cols; row <= (at + values - 1) / cols; ++row) {
                      const std::uint64_t offset = row_offset(part, row, 1);
                      low = std::min(low, offset);
                      high = std::max(high, offset);
                    }
                    if (part.shape.size() == 1) low += at;
                    const std::uint64_t length =
                        part.shape.size() == 1 ? values : high + cols - low;
                    const auto spans = part.source->storage(low, length);
                    all.insert(all.end(), spans.begin(), spans.end());
                  });
  return all;
}

std::vector<std::span<const std::byte>> ModelTensorReader::whole_storage() const {
  std::vector<std::span<const std::byte>> all;
  for (const Part& part : parts_) {
    const auto spans = part.source->storage(0, element_count(part.source->shape()));
    all.insert(all.end(), spans.begin(), spans.end());
  }
  return all;
}

const WeightTensor* ModelTensorReader::same_as_stored() const {
  if (parts_.size() != 1 || tensor_->op != Elementwise::none) return nullptr;
  const Part& part = parts_.front();
  const bool whole = part.offset == 0 && part.shape.size() == 1 && part.strides.front() == 1 &&
                     part.count == element_count(part.source->shape());
  return whole ? part.source : nullptr;
}

TensorType ModelTensorReader::source_type() const {
  return parts_.empty() ? TensorType::f32 : parts_.front().source->type();
}

bool ModelTensorReader::was_quantized() const {
  return std::any_of(parts_.begin(), parts_.end(),
                     [](const Part& part) { return part.source->is_quantized(); });
}

}  // namespace qwodel
