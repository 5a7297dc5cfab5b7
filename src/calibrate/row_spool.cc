#include "calibrate/row_spool.h"

#include <cstring>

#include "graph/aligned_buffer.h"
#include "kernels/convert.h"

namespace qwodel {

RowSpool::RowSpool(std::size_t width, std::size_t parts, ComputeType compute,
                   const std::filesystem::path& directory)
    : width_(width), compute_(compute), runs_(parts), file_(PositionedFile::nameless(directory)) {}

std::size_t RowSpool::row_bytes() const {
  return width_ * (compute_ == ComputeType::bf16 ? sizeof(std::uint16_t) : sizeof(float));
}

void RowSpool::append(std::size_t part, ConstMatrixView rows) {
  AlignedBuffer<std::byte> packed;
  packed.reserve(rows.rows * row_bytes());
  for (std::size_t i = 0; i < rows.rows; ++i) {
    std::byte* const to = packed.data() + i * row_bytes();
    if (compute_ == ComputeType::bf16) {
      float_to_bfloat16(rows.row(i).data(), width_, reinterpret_cast<std::uint16_t*>(to));
    } else {
      std::memcpy(to, rows.row(i).data(), row_bytes());
    }
  }
  file_.write_at(size_, std::span(packed.data(), rows.rows * row_bytes()));
  runs_[part].push_back({size_, rows.rows});
  size_ += rows.rows * row_bytes();
}

void RowSpool::visit(std::size_t part, const std::function<void(ConstMatrixView)>& use) const {
  AlignedBuffer<std::uint16_t> rounded;
  AlignedBuffer<float> rows;
  for (const Run& run : runs_[part]) {
    const std::size_t count = run.rows * width_;
    rows.reserve(count);
    if (compute_ == ComputeType::bf16) {
      rounded.reserve(count);
      file_.read_at(run.offset, std::as_writable_bytes(std::span(rounded.data(), count)));
      bfloat16_to_float(rounded.data(), count, rows.data());
    } else {
      file_.read_at(run.offset, std::as_writable_bytes(std::span(rows.data(), count)));
    }
    use({rows.data(), run.rows, width_});
  }
}

}  // namespace qwodel
