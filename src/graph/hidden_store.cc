#include "graph/hidden_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "qwodel/error.h"

namespace qwodel {
namespace {

[[noreturn]] void fail(const std::filesystem::path& directory, const char* what) {
  const int error = errno;
  throw DependencyError({.where = fmt::format("scratch file in {}", directory.string()),
                         .found = fmt::format("{}: {}", what, std::strerror(error)),
                         .expected = "room for hidden states",
                         .remedy = "name another directory or allow more memory"},
                        error == ENOSPC ? ErrorCode::not_enough_space : ErrorCode::failed);
}

}  // namespace

HiddenStore::HiddenStore(std::vector<std::size_t> rows, std::size_t width, std::uint64_t memory,
                         std::filesystem::path scratch)
    : rows_(std::move(rows)),
      width_(width),
      scratch_(scratch.empty() ? std::filesystem::temp_directory_path() : std::move(scratch)),
      buffers_(rows_.size()) {
  begins_.push_back(0);
  for (const std::size_t count : rows_) begins_.push_back(begins_.back() + count);
  while (in_memory_ < rows_.size() && begins_[in_memory_ + 1] * width_ * sizeof(float) <= memory) {
    ++in_memory_;
  }
  if (in_memory_ == 0 && !rows_.empty()) in_memory_ = 1;
}

HiddenStore::~HiddenStore() {
  if (file_ >= 0) close(file_);
}

// The name is gone before anything is written: the space is freed when the process ends, however
// it ends.
void HiddenStore::open_file() {
  std::string name = (scratch_ / "qwodel-hidden-XXXXXX").string();
  file_ = mkstemp(name.data());
  if (file_ < 0) fail(scratch_, "cannot create it");
  unlink(name.c_str());
}

// Reads into `to`, or writes `from`.
void HiddenStore::transfer(std::uint64_t row, float* to, const float* from,
                           std::size_t count) const {
  std::size_t bytes = count * sizeof(float);
  auto offset = static_cast<off_t>((row - begins_[in_memory_]) * width_ * sizeof(float));
  auto* in = reinterpret_cast<char*>(to);
  const auto* out = reinterpret_cast<const char*>(from);
  while (bytes > 0) {
    const ssize_t done =
        to != nullptr ? pread(file_, in, bytes, offset) : pwrite(file_, out, bytes, offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) fail(scratch_, to != nullptr ? "cannot read it" : "cannot write it");
    bytes -= static_cast<std::size_t>(done);
    offset += done;
    if (to != nullptr) {
      in += done;
    } else {
      out += done;
    }
  }
}

AlignedBuffer<float> HiddenStore::take(std::size_t batch, AlignedBuffer<float> spare) {
  if (!is_in_file(batch)) return std::move(buffers_[batch]);
  spare.reserve(rows_[batch] * width_);
  transfer(begins_[batch], spare.data(), nullptr, rows_[batch] * width_);
  return spare;
}

ConstMatrixView HiddenStore::view(std::size_t batch, AlignedBuffer<float>& spare) const {
  if (!is_in_file(batch)) return {buffers_[batch].data(), rows_[batch], width_};
  spare.reserve(rows_[batch] * width_);
  transfer(begins_[batch], spare.data(), nullptr, rows_[batch] * width_);
  return {spare.data(), rows_[batch], width_};
}

AlignedBuffer<float> HiddenStore::put(std::size_t batch, AlignedBuffer<float> values) {
  if (!is_in_file(batch)) {
    buffers_[batch] = std::move(values);
    return {};
  }
  if (file_ < 0) open_file();
  transfer(begins_[batch], nullptr, values.data(), rows_[batch] * width_);
  return values;
}

void HiddenStore::read(std::uint64_t first, MatrixView out) const {
  for (std::size_t i = 0; i < out.rows; ++i) {
    const std::uint64_t row = first + i;
    const auto next = std::upper_bound(begins_.begin(), begins_.end(), row);
    const auto batch = static_cast<std::size_t>(next - begins_.begin()) - 1;
    if (is_in_file(batch)) {
      transfer(row, out.row(i).data(), nullptr, width_);
    } else {
      std::memcpy(out.row(i).data(), buffers_[batch].data() + (row - begins_[batch]) * width_,
                  width_ * sizeof(float));
    }
  }
}

}  // namespace qwodel
