#include "pipeline/checkpoint_writer.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <system_error>

#include "codecs/codec.h"
#include "formats/model_files.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

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

CheckpointWriter::CheckpointWriter(fs::path path, bool replace, const CheckpointLayout& layout,
                                   const LinearFormat& format)
    : layout_(layout), format_(format), directory_(std::move(path), replace) {
  for (const CheckpointShard& shard : layout_.shards) {
    shards_.push_back(std::make_unique<AtomicFile>(directory_.staging() / shard.file,
                                                   shard.layout.file_size, true));
    shards_.back()->write_at(0, std::as_bytes(std::span(shard.layout.header)));
    bytes_ += shard.layout.file_size;
  }
}

void CheckpointWriter::write(const std::string& name, std::span<const std::byte> bytes) {
  const CheckpointSlot& slot = layout_.slots.at(name);
  shards_[slot.shard]->write_at(slot.offset, bytes);
}

void CheckpointWriter::write_linear(const std::string& module, const GroupIntMatrix& matrix) {
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
    shards_[slot.shard]->write_at(slot.offset + *bytes_of(tensor.type(), first),
                                  encode(tensor, values));
  }
}

void CheckpointWriter::write_text(const std::string& file, const std::string& text) {
  AtomicFile out(directory_.staging() / file, text.size(), true);
  out.write_at(0, std::as_bytes(std::span(text)));
  out.commit();
  bytes_ += text.size();
}

// Tokenizer, generation settings, chat templates, licence: what a model's directory has on its top
// level, except its README, whose text describes another artifact.
void CheckpointWriter::copy_sidecars(const fs::path& from) {
  for (const auto& entry : fs::directory_iterator(from)) {
    const fs::path file = entry.path();
    const std::string name = file.filename().string();
    const bool skip = !entry.is_regular_file() || name.starts_with('.') || is_weight_file(file) ||
                      name == "config.json" || name == "quantize_config.json" ||
                      fs::exists(directory_.staging() / name);
    if (skip) continue;
    const MappedFile mapped(file);
    AtomicFile out(directory_.staging() / name, mapped.bytes().size(), true);
    out.write_at(0, mapped.bytes());
    out.commit();
    bytes_ += mapped.bytes().size();
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

void CheckpointWriter::commit(const Weights& weights, const Checkpoint& source,
                              const LinearArtifact& artifact) {
  for (const auto& tensor : weights.tensors()) {
    if (layout_.keeps(tensor->name()) && !written_.contains(tensor->name())) {
      copy(*tensor);
    }
  }
  for (const auto& shard : shards_) shard->commit();
  if (const Json index = layout_.index(); !index.is_null()) {
    write_text("model.safetensors.index.json", index.dump(2) + "\n");
  }
  Json config = source.config();
  config["quantization_config"] = format_.quantization_config(artifact);
  write_text("config.json", config.dump(2) + "\n");
  if (!format_.config_file().empty()) {
    write_text(std::string(format_.config_file()), config["quantization_config"].dump(2) + "\n");
  }
  copy_sidecars(source.directory());
  verify();
  directory_.commit();
}

}  // namespace qwodel
