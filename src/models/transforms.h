// The reorderings that GGUF wants, as strided views. Matrices are (rows, columns), rows outermost.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/registry.h"

namespace qwodel {

// copy_tensor (registry.h): the tensor as it is.

// Rows of the rotary halves interleaved: inside each head, row i of the first half and row i of the
// second become rows 2i and 2i + 1. For weights and biases of q with heads(), of k with kv_heads().
void rotary_q(const ModelContext&, const RuleMatch&, std::vector<ModelTensor>&);
void rotary_k(const ModelContext&, const RuleMatch&, std::vector<ModelTensor>&);

// A matrix stored as (in, out) becomes (out, in); a vector stays, and so does a matrix that was
// quantized: GPTQ's are (out, in) in every class.
void transpose(const ModelContext&, const RuleMatch&, std::vector<ModelTensor>&);

// 1 + w: norms that store the difference from one.
void plus_one(const ModelContext&, const RuleMatch&, std::vector<ModelTensor>&);

// (..., 2n, columns) halved along the rows. The rule's GGUF name contains "gate", which is the
// first half; the second is the same name with "up".
void split_gate_up(const ModelContext&, const RuleMatch&, std::vector<ModelTensor>&);

// Building blocks for a family's own transforms.

// The whole tensor of a match as a row-major view.
TensorView whole_view(const RuleMatch& match);

// `rows` rows from `first` of a view, along its axis `axis`.
TensorView slice(TensorView view, std::size_t axis, std::uint64_t first, std::uint64_t rows);

// The view with its axes 0 = `heads` * 2 * n rotary rows reordered as in rotary_q. Throws
// ValidationError when the rows are no multiple of 2 * heads.
TensorView rotary_view(const RuleMatch& match, const TensorView& view, std::uint64_t heads);

// A tensor of one part with the part's shape.
ModelTensor tensor_of(std::string name, TensorView view);

// Throws the ValidationError of a shape that does not fit: "expected" is the caller's.
[[noreturn]] void throw_bad_shape(const RuleMatch& match, std::string expected);

}  // namespace qwodel
