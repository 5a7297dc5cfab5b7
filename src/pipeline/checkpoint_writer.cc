#include "pipeline/checkpoint_writer.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <system_error>

#include "codecs/codec.h"
#include "formats/model_files.h"
#include "qwodel/error.h"
#include "sources/grouped.h"
#include "targets/artifact_card.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";

std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

constexpr std::uint64_t kCopyValues = std::uint64_t{1} << 20;

// Rows are read and hashed a few at a time: packed files keep a column's rows together.
constexpr std::uint64_t kHashRows = 64;

std::uint64_t add_to_hash(std::uint64_t hash, std::span<const float> values) {
  return XXH3_64bits_withSeed(values.data(), values.size_bytes(), hash);
}

std::uint64_t hash_of(const GroupIntMatrix& matrix) {
  std::uint64_t hash = 0;
  std::vector<float> rows;
  for (std::uint64_t first = 0; first < matrix.rows; first += kHashRows) {
    const std::uint64_t count = std::min(kHashRows, matrix.rows - first);
    rows.resize(count * matrix.cols);
    for (std::uint64_t r = 0; r < count; ++r) {
      matrix.decode(first + r, std::span(rows).subspan(r * matrix.cols, matrix.cols));
    }
    hash = add_to_hash(hash, rows);
  }
  return hash;
}

std::uint64_t hash_of(const WeightTensor& tensor) {
  const std::uint64_t rows = tensor.shape().front();
  const std::uint64_t cols = tensor.shape().back();
  std::uint64_t hash = 0;
  std::vector<float> values;
  for (std::uint64_t first = 0; first < rows; first += kHashRows) {
    values.resize(std::min(kHashRows, rows - first) * cols);
    tensor.read(first * cols, values);
    hash = add_to_hash(hash, values);
  }
  return hash;
}

// Values in a tensor's stored type.
std::vector<std::byte> encode(const WeightTensor& tensor, std::span<const float> values) {
  const Codec* codec = find_codec(tensor.type());
  std::vector<std::byte> bytes(*bytes_of(tensor.type(), values.size()));
  codec->encode(values.data(), 1, values.size(), nullptr, bytes.data());
  std::vector<float> decoded(values.size());
  codec->decode(bytes.data(), values.size(), decoded.data());
  if (std::ranges::all_of(decoded, [](float value) { return std::isfinite(value); })) return bytes;
  throw QuantizationError({.where = fmt::format("tensor \"{}\"", tensor.name()),
                           .found = "a value that is not finite",
                           .expected = fmt::format("values within {}", info(tensor.type()).name),
                           .remedy = "use a checkpoint in bfloat16 or float32"});
}

bool is_weight_file(const fs::path& file) {
  const std::string name = file.filename().string();
  const auto ends = [&](std::string_view suffix) { return name.ends_with(suffix); };
  return ends(".safetensors") || ends(".safetensors.index.json") || ends(".bin") ||
         ends(".bin.index.json") || ends(".pth") || ends(".pt") || ends(".gguf");
}

}  // namespace

CheckpointWriter::CheckpointWriter(fs::path path, const CheckpointLayout& layout,
                                   const LinearFormat& format, const Checkpoint& source,
                                   const LinearArtifact& artifact,
                                   const CheckpointWriterOptions& options)
    : layout_(layout),
      format_(format),
      source_(source),
      directory_(std::move(path), options.replace, options.resume),
      journal_(open_journal(directory_, options.key)) {
  open_shards();
  write_config(artifact);  // without it what is there could not be read
  if (!journal_.entries().empty()) take_up();
  bytes_ = 0;
  for (const CheckpointShard& shard : layout_.shards) bytes_ += shard.layout.file_size;
}

void CheckpointWriter::open_shards() {
  for (const CheckpointShard& shard : layout_.shards) {
    const fs::path file = directory_.staging() / shard.file;
    std::error_code missing;
    const bool whole = !journal_.entries().empty() &&
                       fs::file_size(file, missing) == shard.layout.file_size && !missing;
    const auto mode = whole ? PositionedFile::Mode::open : PositionedFile::Mode::create;
    shards_.emplace_back(file, mode, shard.layout.file_size);
    shards_.back().write_at(0, std::as_bytes(std::span(shard.layout.header)));
    // Where nothing could be reserved the file has its size from its last byte on.
    if (shards_.back().size() < shard.layout.file_size) {
      shards_.back().write_at(shard.layout.file_size - 1, std::array<std::byte, 1>{});
    }
  }
}

// What the journal says counts as done when the file still holds it.
void CheckpointWriter::take_up() {
  if (const Json index = layout_.index(); !index.is_null()) {
    write_file(kIndex, as_bytes(index.dump(2) + "\n"));
  }
  // Of linears that are not written yet, so that the checkpoint can be opened.
  for (const auto& [module, extents] : layout_.extents) {
    const std::string name = fmt::format("{}.{}", module, format_.shape_tensor());
    if (layout_.slots.contains(name)) write(name, std::as_bytes(std::span(extents)));
  }
  partial_ = open_checkpoint(directory_.staging());
  partial_weights_ = std::make_unique<Weights>(*partial_);
  for (const auto& [module, entry] : journal_.entries()) {
    const WeightTensor* tensor = partial_weights_->find(module + ".weight");
    if (!layout_.linears.contains(module) || tensor == nullptr || !stored_codes(*tensor) ||
        hash_of(*tensor) != entry.hash) {
      continue;
    }
    finished_[module] = entry.note;
    decided_[module] = entry.hash;
  }
}

const Json* CheckpointWriter::finished(const std::string& module) const {
  const auto found = finished_.find(module);
  return found == finished_.end() ? nullptr : &found->second;
}

GroupIntMatrix CheckpointWriter::read_finished(const std::string& module) const {
  return *stored_codes(*partial_weights_->find(module + ".weight"));
}

void CheckpointWriter::write(const std::string& name, std::span<const std::byte> bytes) {
  const CheckpointSlot& slot = layout_.slots.at(name);
  shards_[slot.shard].write_at(slot.offset, bytes);
}

void CheckpointWriter::write_linear(const std::string& module, const GroupIntMatrix& matrix,
                                    const Json& note) {
  std::uint64_t size = 0;
  for (const std::string& name : layout_.linears.at(module)) size += layout_.slots.at(name).bytes;
  std::vector<std::byte> packed(static_cast<std::size_t>(size));
  format_.pack(matrix, packed);
  std::span<const std::byte> rest(packed);
  for (const std::string& name : layout_.linears.at(module)) {
    const std::uint64_t bytes = layout_.slots.at(name).bytes;
    write(name, rest.first(static_cast<std::size_t>(bytes)));
    rest = rest.subspan(static_cast<std::size_t>(bytes));
  }
  const std::uint64_t hash = hash_of(matrix);
  const std::lock_guard lock(mutex_);
  decided_[module] = hash;
  journal_.add(module, {hash, note});
}

void CheckpointWriter::write_values(const WeightTensor& tensor, std::span<const float> values) {
  write(tensor.name(), encode(tensor, values));
  const std::lock_guard lock(mutex_);
  written_.insert(tensor.name());
}

void CheckpointWriter::copy(const WeightTensor& tensor) {
  if (!tensor.raw().empty()) {
    write(tensor.name(), tensor.raw());
    return;
  }
  const CheckpointSlot& slot = layout_.slots.at(tensor.name());
  const std::uint64_t count = element_count(tensor.shape());
  std::vector<float> values;
  for (std::uint64_t first = 0; first < count; first += values.size()) {
    values.resize(static_cast<std::size_t>(std::min(kCopyValues, count - first)));
    tensor.read(first, values);
    shards_[slot.shard].write_at(slot.offset + *bytes_of(tensor.type(), first),
                                 encode(tensor, values));
  }
}

void CheckpointWriter::write_file(const std::string& name, std::span<const std::byte> bytes) {
  PositionedFile out(directory_.staging() / name, PositionedFile::Mode::create, bytes.size());
  out.write_at(0, bytes);
  out.sync();
  bytes_ += bytes.size();
}

void CheckpointWriter::write_config(const LinearArtifact& artifact) {
  Json config = source_.config();
  config["quantization_config"] = format_.quantization_config(artifact);
  write_file("config.json", as_bytes(config.dump(2) + "\n"));
  if (format_.config_file().empty()) return;
  write_file(std::string(format_.config_file()),
             as_bytes(config["quantization_config"].dump(2) + "\n"));
}

// Tokenizer, generation settings, chat templates, licence: what a model's directory has on its top
// level, except its README, whose text describes another artifact.
void CheckpointWriter::copy_sidecars(const fs::path& from) {
  for (const auto& entry : fs::directory_iterator(from)) {
    const fs::path& file = entry.path();
    const std::string name = file.filename().string();
    const bool skip = !entry.is_regular_file() || name.starts_with('.') || is_weight_file(file) ||
                      name == "config.json" || name == "quantize_config.json" ||
                      name == "README.md";
    if (skip) continue;
    const MappedFile mapped(file);
    write_file(name, mapped.bytes());
  }
}

void CheckpointWriter::verify() const {
  const auto checkpoint = open_checkpoint(directory_.staging());
  const Weights weights(*checkpoint);
  for (const auto& [module, hash] : decided_) {
    const WeightTensor* tensor = weights.find(module + ".weight");
    if (tensor != nullptr && hash_of(*tensor) == hash) continue;
    throw ValidationError({.where = module,
                           .found = tensor == nullptr ? "no such linear in the file"
                                                      : "other weights than were decided",
                           .expected = "what was written",
                           .remedy = "check the disk; nothing was put at the output path"},
                          ErrorCode::verification_failed);
  }
}

void CheckpointWriter::commit(const Weights& weights, const LinearArtifact& artifact) {
  for (const auto& tensor : weights.tensors()) {
    if (layout_.keeps(tensor->name()) && !written_.contains(tensor->name())) copy(*tensor);
  }
  for (PositionedFile& shard : shards_) shard.sync();
  if (const Json index = layout_.index(); !index.is_null()) {
    write_file(kIndex, as_bytes(index.dump(2) + "\n"));
  }
  write_config(artifact);
  const std::string card = artifact_card(source_, artifact, format_.quantization_config(artifact));
  write_file("README.md", as_bytes(card));
  copy_sidecars(source_.directory());
  verify();
  fs::remove(directory_.staging() / kJournalName);
  directory_.commit();
}

}  // namespace qwodel
