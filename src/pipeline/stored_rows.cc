#include "pipeline/stored_rows.h"

#include "io/mapped_file.h"

namespace qwodel {

void read_stored_rows(const StoredWeight& weight, const ModelTensorReader& reader,
                      std::uint64_t row, std::span<float> values) {
  const std::uint64_t first = weight.first_row + row;
  if (weight.order.head_dim == 0) {
    reader.read(first * weight.columns, values);
  } else {
    const auto columns = static_cast<std::size_t>(weight.columns);
    for (std::size_t r = 0; r < values.size() / columns; ++r) {
      reader.read(weight.order.source_row(first + r) * weight.columns,
                  values.subspan(r * columns, columns));
    }
  }
  for (const auto part : reader.storage(first * weight.columns, values.size())) drop_pages(part);
}

}  // namespace qwodel
