#include "graph/hidden_store.h"

#include <algorithm>
#include <cstring>
#include <span>

namespace qwodel {

template <class T>
HiddenStore<T>::HiddenStore(std::vector<std::size_t> rows, std::size_t width, std::uint64_t memory,
                            std::filesystem::path scratch)
    : rows_(std::move(rows)),
      width_(width),
      scratch_(scratch.empty() ? std::filesystem::temp_directory_path() : std::move(scratch)),
      buffers_(rows_.size()) {
  begins_.push_back(0);
  for (const std::size_t count : rows_) begins_.push_back(begins_.back() + count);
  while (in_memory_ < rows_.size() && begins_[in_memory_ + 1] * row_bytes() <= memory) {
    ++in_memory_;
  }
  if (in_memory_ == 0 && !rows_.empty()) in_memory_ = 1;
}

template <class T>
std::uint64_t HiddenStore<T>::offset_of(std::uint64_t row) const {
  return (row - begins_[in_memory_]) * row_bytes();
}

template <class T>
void HiddenStore<T>::read_batch(std::size_t batch, AlignedBuffer<T>& to) const {
  const std::size_t count = rows_[batch] * width_;
  to.reserve(count);
  file_->read_at(offset_of(begins_[batch]), std::as_writable_bytes(std::span(to.data(), count)));
}

template <class T>
AlignedBuffer<T> HiddenStore<T>::take(std::size_t batch, AlignedBuffer<T> spare) {
  if (!is_in_file(batch)) return std::move(buffers_[batch]);
  read_batch(batch, spare);
  return spare;
}

template <class T>
Matrix<const T> HiddenStore<T>::view(std::size_t batch, AlignedBuffer<T>& spare) const {
  if (!is_in_file(batch)) return {buffers_[batch].data(), rows_[batch], width_};
  read_batch(batch, spare);
  return {spare.data(), rows_[batch], width_};
}

template <class T>
AlignedBuffer<T> HiddenStore<T>::put(std::size_t batch, AlignedBuffer<T> values) {
  if (!is_in_file(batch)) {
    buffers_[batch] = std::move(values);
    return {};
  }
  if (!file_) file_.emplace(PositionedFile::nameless(scratch_));
  file_->write_at(offset_of(begins_[batch]),
                  std::as_bytes(std::span(values.data(), rows_[batch] * width_)));
  return values;
}

template <class T>
void HiddenStore<T>::read(std::uint64_t first, Matrix<T> out) const {
  for (std::size_t i = 0; i < out.rows; ++i) {
    const std::uint64_t row = first + i;
    const auto next = std::upper_bound(begins_.begin(), begins_.end(), row);
    const auto batch = static_cast<std::size_t>(next - begins_.begin()) - 1;
    if (is_in_file(batch)) {
      file_->read_at(offset_of(row), std::as_writable_bytes(std::span(out.row(i).data(), width_)));
    } else {
      std::memcpy(out.row(i).data(), buffers_[batch].data() + (row - begins_[batch]) * width_,
                  row_bytes());
    }
  }
}

template class HiddenStore<float>;
template class HiddenStore<std::uint16_t>;

}  // namespace qwodel
