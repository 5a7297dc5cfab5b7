// Matrix products on the calling thread, by oneDNN.
//
// Factors are f32, or bf16 stored as its 16 bits; sums and results are f32. Where oneDNN has no
// products of bf16 (x86 without AVX-512) they are made of the same values in f32. Sizes of 0 give
// zeros or nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/matrix.h"
#include "graph/aligned_buffer.h"

namespace qwodel {

// True when the processor multiplies bf16 faster than f32.
bool has_fast_bf16();

// Bytes that a value of a PackedMatrix takes.
std::size_t packed_value_bytes(bool bf16);

// out = a b^T for row-major a [m, k], b [n, k], out [m, n]; strides are free.
void multiply_transposed(Matrix<const float> a, Matrix<const float> b, MatrixView out);
void multiply_transposed(Matrix<const std::uint16_t> a, Matrix<const std::uint16_t> b,
                         MatrixView out);

// out = a b for b [k, n].
void multiply(Matrix<const float> a, Matrix<const float> b, MatrixView out);
void multiply(Matrix<const std::uint16_t> a, Matrix<const std::uint16_t> b, MatrixView out);

// What happens to the values that are in `out`.
enum class Output : std::uint8_t { replace, add };

// out = a^T b, or out += a^T b, for a [k, m], b [k, n].
void multiply_columns(Matrix<const float> a, Matrix<const float> b, MatrixView out,
                      Output output = Output::replace);
void multiply_columns(Matrix<const std::uint16_t> a, Matrix<const std::uint16_t> b, MatrixView out,
                      Output output = Output::replace);

// A factor b [n, k] that many products share, in the layout that oneDNN likes best (on AVX-512:
// panels of 64 rows, k outermost; such products are 3 to 5 % faster), else as b^T with gaps between
// its rows.
class PackedMatrix {
 public:
  // Rows are packed, and taken for a product, from a multiple of this on.
  static constexpr std::size_t kPanel = 64;

  PackedMatrix() = default;
  // Values are not set yet. `bf16`: rounded to bf16 as they are packed.
  PackedMatrix(std::size_t rows, std::size_t cols, bool bf16);

  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  bool is_bf16() const { return bf16_; }

  // Sets rows [first, first + from.rows): whole panels, or up to the last row. Different rows may
  // be set from different threads.
  void pack(std::size_t first, ConstMatrixView from);

  const std::byte* data() const { return data_.data(); }

 private:
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  bool bf16_ = false;
  AlignedBuffer<std::byte> data_;
};

// out = a b^T for rows [first, first + out.cols) of b: whole panels, or up to the last row. The
// type of `a` is that of b.
void multiply_transposed(Matrix<const float> a, const PackedMatrix& b, std::size_t first,
                         MatrixView out);
void multiply_transposed(Matrix<const std::uint16_t> a, const PackedMatrix& b, std::size_t first,
                         MatrixView out);

}  // namespace qwodel
