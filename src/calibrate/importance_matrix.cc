#include "calibrate/importance_matrix.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <optional>

#include "formats/checkpoint.h"
#include "io/byte_cursor.h"
#include "io/mapped_file.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";

[[noreturn]] void fail(const std::string& where, std::string found, std::string expected) {
  throw ValidationError({.where = where,
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = "make the importance matrix again"});
}

std::vector<float> float_values(const TensorInfo& tensor, const std::string& file) {
  if (tensor.type != TensorType::f32) {
    fail(file, fmt::format("{} of type {}", tensor.name, info(tensor.type).name), "type F32");
  }
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

void check_values(const std::string& file, const std::string& name, std::span<const float> values) {
  for (const float value : values) {
    if (!std::isfinite(value) || value < 0) {
      fail(file, fmt::format("value {} for {}", value, name), "finite values, not negative");
    }
  }
}

// Divides the sums of each matrix (expert) by its count, in place.
void normalize(const std::string& file, const std::string& name, std::vector<float>& sums,
               std::span<const float> counts) {
  if (counts.empty() || sums.size() % counts.size() != 0) {
    fail(file, fmt::format("{} sums and {} counts for {}", sums.size(), counts.size(), name),
         "as many sums per count");
  }
  const std::size_t cols = sums.size() / counts.size();
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const float count = counts[i / cols];
    sums[i] = count > 0 ? sums[i] / count : 1.0f;
  }
}

ImportanceMatrix read_gguf_form(const std::filesystem::path& path) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path);
  const std::string file = path.string();
  const std::optional<GgufMetadata>& found = checkpoint->gguf_metadata();
  if (!found) fail(file, "no GGUF metadata", "an importance matrix");
  const GgufMetadata& metadata = *found;
  ImportanceMatrix matrix;
  const auto chunk_count = metadata.find_unsigned("imatrix.chunk_count");
  const GgufValue* datasets = metadata.find("imatrix.datasets");
  if (!chunk_count || datasets == nullptr) {
    fail(file, "no imatrix.chunk_count or imatrix.datasets", "an importance matrix");
  }
  matrix.chunks = static_cast<std::uint32_t>(*chunk_count);
  if (const auto* array = std::get_if<GgufArray>(datasets)) {
    if (const auto* names = std::get_if<std::vector<std::string>>(array)) matrix.datasets = *names;
  }
  for (const TensorInfo& tensor : checkpoint->tensors()) {
    if (!tensor.name.ends_with(kSums)) continue;
    const std::string name = tensor.name.substr(0, tensor.name.size() - kSums.size());
    const TensorInfo* counts = checkpoint->find(name + std::string(kCounts));
    if (counts == nullptr) fail(file, fmt::format("no counts for {}", name), "one per matrix");
    std::vector<float> values = float_values(tensor, file);
    normalize(file, name, values, float_values(*counts, file));
    check_values(file, name, values);
    matrix.entries.emplace(name, std::move(values));
  }
  return matrix;
}

ImportanceMatrix read_dat_form(const std::filesystem::path& path) {
  const MappedFile file(path);
  ByteCursor cursor(file.bytes(), path.string());
  const auto positive = [&](std::string_view what) {
    const auto value = cursor.read<std::int32_t>(what);
    if (value < 0) fail(path.string(), fmt::format("{} {}", value, what), "a positive number");
    return static_cast<std::uint32_t>(value);
  };
  ImportanceMatrix matrix;
  const std::uint32_t count = positive("entries");
  for (std::uint32_t entry = 0; entry < count; ++entry) {
    const std::string name = cursor.text(positive("name length"), "entry name");
    const std::uint32_t calls = positive("calls");
    const std::uint32_t size = positive("values");
    const auto bytes = cursor.take(std::uint64_t{size} * sizeof(float), "values");
    std::vector<float> values(size);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    if (calls > 0) {
      for (float& value : values) value /= static_cast<float>(calls);
    }
    check_values(path.string(), name, values);
    matrix.entries.insert_or_assign(name, std::move(values));
  }
  if (cursor.remaining() > 0) matrix.chunks = positive("last chunk");
  if (cursor.remaining() > 0) {
    matrix.datasets.push_back(cursor.text(positive("dataset length"), "dataset name"));
  }
  return matrix;
}

}  // namespace

ImportanceMatrix read_importance_matrix(const std::filesystem::path& path) {
  bool is_gguf = false;
  {
    const MappedFile file(path);
    is_gguf = file.bytes().size() >= 4 && std::memcmp(file.bytes().data(), "GGUF", 4) == 0;
  }
  ImportanceMatrix matrix = is_gguf ? read_gguf_form(path) : read_dat_form(path);
  matrix.file = path.string();
  if (matrix.entries.empty()) fail(matrix.file, "no entries", "at least one weight");
  return matrix;
}

}  // namespace qwodel
