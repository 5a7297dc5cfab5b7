#include "calibrate/importance_sums.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/gguf_writer.h"
#include "io/atomic_file.h"

namespace qwodel {
namespace {

constexpr std::string_view kBlock = "blk.";

ImportanceSums sums_of_weight(const std::string& weight, const StatisticsInput& input,
                              const InputSums& sums) {
  ImportanceSums entry{.weight = weight, .sums = {}, .counts = {}, .matrices = input.parts};
  for (const double sum : sums.sum_squares) entry.sums.push_back(static_cast<float>(sum));
  // Every head of a dense 3-D weight sees every token: one count, as llama-imatrix keeps.
  const std::size_t counts = input.kind == InputParts::experts ? sums.counts.size() : 1;
  for (std::size_t i = 0; i < counts; ++i) {
    entry.counts.push_back(static_cast<float>(sums.counts[i]));
  }
  return entry;
}

class Bytes {
 public:
  template <class T>
  void add(const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void add_text(const std::string& text) {
    add(static_cast<std::int32_t>(text.size()));
    const auto bytes = std::as_bytes(std::span(text));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Values are mean * calls, and readers divide by calls: a count of chunks, not of tokens.
void add_dat_entry(const ImportanceSums& entry, std::uint32_t chunk_size, Bytes& out) {
  const float most = *std::ranges::max_element(entry.counts);
  const auto calls = static_cast<std::int32_t>(std::ceil(most / static_cast<float>(chunk_size)));
  out.add_text(entry.weight);
  out.add(calls);
  out.add(static_cast<std::int32_t>(entry.sums.size()));
  const std::size_t per_count = entry.sums.size() / entry.counts.size();
  for (std::size_t i = 0; i < entry.sums.size(); ++i) {
    const float count = entry.counts[i / per_count];
    const float mean = count == 0 ? 1.0f : entry.sums[i] / count;
    out.add(mean * static_cast<float>(calls));
  }
}

void write_dat(const ImportanceRun& run, const std::filesystem::path& path, bool replace) {
  Bytes out;
  std::vector<const ImportanceSums*> entries;
  for (const ImportanceSums& entry : run.entries) {
    // An entry without any data is left out: its calls would be 0.
    if (*std::ranges::max_element(entry.counts) > 0) entries.push_back(&entry);
  }
  out.add(static_cast<std::int32_t>(entries.size()));
  for (const ImportanceSums* entry : entries) add_dat_entry(*entry, run.chunk_size, out);
  out.add(static_cast<std::int32_t>(run.chunks));
  out.add_text(run.datasets.empty() ? "" : run.datasets.back());
  AtomicFile file(path, out.bytes().size(), replace);
  file.write_at(0, out.bytes());
  file.commit();
}

void write_gguf(const ImportanceRun& run, const std::filesystem::path& path, bool replace) {
  GgufMetadata metadata;
  metadata.set_string("general.type", "imatrix");
  metadata.set_array("imatrix.datasets", run.datasets);
  metadata.set_u32("imatrix.chunk_count", run.chunks);
  metadata.set_u32("imatrix.chunk_size", run.chunk_size);
  std::vector<GgufTensor> tensors;
  for (const ImportanceSums& entry : run.entries) {
    const std::uint64_t rows = entry.counts.size();
    tensors.push_back(
        {entry.weight + ".in_sum2", TensorType::f32, {rows, entry.sums.size() / rows}});
    tensors.push_back({entry.weight + ".counts", TensorType::f32, {rows, 1}});
  }
  const GgufLayout layout = layout_gguf(metadata, tensors);
  AtomicFile file(path, layout.file_size, replace);
  file.write_at(0, layout.header);
  for (std::size_t i = 0; i < run.entries.size(); ++i) {
    file.write_at(layout.offsets[2 * i], std::as_bytes(std::span(run.entries[i].sums)));
    file.write_at(layout.offsets[2 * i + 1], std::as_bytes(std::span(run.entries[i].counts)));
  }
  file.commit();
}

}  // namespace

std::vector<ImportanceSums> importance_sums(const std::vector<StatisticsInput>& inputs,
                                            const std::function<InputSums(std::size_t)>& sums_of) {
  std::vector<ImportanceSums> entries;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const bool is_wanted = std::ranges::any_of(
        inputs[i].weights, [](const std::string& name) { return name.starts_with(kBlock); });
    if (!is_wanted) continue;
    const InputSums sums = sums_of(i);
    for (const std::string& weight : inputs[i].weights) {
      if (weight.starts_with(kBlock)) entries.push_back(sums_of_weight(weight, inputs[i], sums));
    }
  }
  std::ranges::sort(entries, {}, &ImportanceSums::weight);
  return entries;
}

ImportanceMatrix to_importance_matrix(const ImportanceRun& run, const std::string& name) {
  ImportanceMatrix matrix;
  matrix.file = name;
  matrix.datasets = run.datasets;
  matrix.chunks = run.chunks;
  for (const ImportanceSums& entry : run.entries) {
    std::vector<float> values = entry.sums;
    const std::size_t per_count = values.size() / entry.counts.size();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float count = entry.counts[i / per_count];
      values[i] = count > 0 ? values[i] / count : 1.0f;
    }
    matrix.entries.emplace(entry.weight, std::move(values));
  }
  return matrix;
}

void write_importance_matrix(const ImportanceRun& run, const std::filesystem::path& path,
                             bool replace) {
  if (path.extension() == ".dat") {
    write_dat(run, path, replace);
  } else {
    write_gguf(run, path, replace);
  }
}

}  // namespace qwodel
