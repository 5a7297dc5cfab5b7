#include "calibrate/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/checked.h"
#include "formats/gguf_reader.h"
#include "io/mapped_file.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kVersion = 1;
constexpr std::string_view kType = "statistics";
constexpr std::string_view kCounts = "counts";
constexpr std::string_view kSumAbs = "sum_abs";
constexpr std::string_view kSumSquares = "sum_squares";
constexpr std::string_view kMaxAbs = "max_abs";
constexpr std::string_view kGram = "gram";
constexpr const char* kHidden = "hidden.max_abs";
constexpr std::uint64_t kMostStages = 1 << 16;

[[noreturn]] void fail(const std::filesystem::path& file, std::string found, std::string expected) {
  throw ValidationError({.where = file.string(),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = "make the statistics again with qwodel calibrate"});
}

std::string array_name(std::size_t input, std::string_view array) {
  return fmt::format("{}.{}", input, array);
}

GgufMetadata metadata_of(const StatisticsHeader& header,
                         const std::vector<StatisticsInput>& inputs) {
  GgufMetadata metadata;
  metadata.set_string("general.type", kType);
  metadata.set_u32("statistics.version", kVersion);
  metadata.set_string("statistics.model", header.model);
  metadata.set_string("statistics.model_hash", header.model_hash);
  metadata.set_string("statistics.compute", header.compute);
  metadata.set_bool("statistics.gram", header.has_gram);
  if (header.stages > 0)
    metadata.set_u32("statistics.stages", static_cast<std::uint32_t>(header.stages));
  std::vector<std::string> names;
  std::vector<std::string> hashes;
  std::vector<std::uint64_t> tokens;
  std::vector<std::uint64_t> sequences;
  for (const CalibrationText& text : header.texts) {
    names.push_back(text.name);
    hashes.push_back(text.hash);
    tokens.push_back(text.tokens);
    sequences.push_back(text.sequences);
  }
  metadata.set_array("statistics.texts", std::move(names));
  metadata.set_array("statistics.text_hashes", std::move(hashes));
  metadata.set_array("statistics.text_tokens", std::move(tokens));
  metadata.set_array("statistics.text_sequences", std::move(sequences));
  std::vector<std::string> weights;
  std::vector<std::uint8_t> kinds;
  std::vector<std::uint64_t> widths;
  std::vector<std::uint64_t> parts;
  for (const StatisticsInput& input : inputs) {
    weights.push_back(fmt::format("{}", fmt::join(input.weights, "\n")));
    kinds.push_back(static_cast<std::uint8_t>(input.kind));
    widths.push_back(input.width);
    parts.push_back(input.parts);
  }
  metadata.set_array("statistics.weights", std::move(weights));
  metadata.set_array("statistics.kinds", std::move(kinds));
  metadata.set_array("statistics.widths", std::move(widths));
  metadata.set_array("statistics.parts", std::move(parts));
  return metadata;
}

// An array of metadata with `count` values, or any number for none.
template <class T>
std::vector<T> array_of(const GgufMetadata& metadata, std::string_view key,
                        const std::filesystem::path& file, std::optional<std::size_t> count) {
  const GgufValue* value = metadata.find(key);
  const auto* array = value == nullptr ? nullptr : std::get_if<GgufArray>(value);
  const auto* values = array == nullptr ? nullptr : std::get_if<std::vector<T>>(array);
  if (values == nullptr || (count && values->size() != *count)) {
    fail(file, fmt::format("no {} or one of another length", key), "whole metadata");
  }
  return *values;
}

std::string string_of(const GgufMetadata& metadata, std::string_view key,
                      const std::filesystem::path& file) {
  const auto value = metadata.find_string(key);
  if (!value) fail(file, fmt::format("no {}", key), "whole metadata");
  return *value;
}

template <class T>
std::vector<T> values_of(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

// Gram matrices are nearly all of the file: mapped, they would be most of the process.
std::vector<float> take_gram(std::span<const std::byte> bytes) {
  std::vector<float> values = values_of<float>(bytes);
  drop_pages(bytes);
  return values;
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (true) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    if (end == text.size()) return lines;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

StatisticsLayout::StatisticsLayout(const StatisticsHeader& header,
                                   const std::vector<StatisticsInput>& inputs)
    : arrays_(header.has_gram ? 5 : 4) {
  std::vector<GgufTensor> tensors;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto& [weights, kind, width, parts] = inputs[i];
    tensors.push_back({array_name(i, kCounts), TensorType::i64, {parts}});
    tensors.push_back({array_name(i, kSumAbs), TensorType::f64, {parts, width}});
    tensors.push_back({array_name(i, kSumSquares), TensorType::f64, {parts, width}});
    tensors.push_back({array_name(i, kMaxAbs), TensorType::f32, {parts, width}});
    if (!header.has_gram) continue;
    tensors.push_back({array_name(i, kGram), TensorType::f32, {parts, triangle(width)}});
  }
  if (header.stages > 0) tensors.push_back({kHidden, TensorType::f32, {header.stages}});
  layout_ = layout_gguf(metadata_of(header, inputs), tensors);
}

StatisticsFile::StatisticsFile(const std::filesystem::path& path) : path_(path) {
  if (!std::filesystem::is_directory(path) && !looks_like_gguf(path)) {
    fail(path_, "another kind of file", "a statistics file (.qstats)");
  }
  file_ = open_checkpoint(path);
  if (!file_->gguf_metadata()) fail(path_, "a model", "a statistics file (.qstats)");
  read_header();
  read_inputs();
  check_values();
}

void StatisticsFile::read_header() {
  const GgufMetadata& metadata = *file_->gguf_metadata();
  if (metadata.find_string("general.type") != kType) {
    fail(path_, "another kind of GGUF", "general.type \"statistics\"");
  }
  const auto version = metadata.find_unsigned("statistics.version");
  if (version != kVersion) {
    fail(path_, fmt::format("version {}", version.value_or(0)), fmt::format("{}", kVersion));
  }
  header_.model = string_of(metadata, "statistics.model", path_);
  header_.model_hash = string_of(metadata, "statistics.model_hash", path_);
  header_.compute = string_of(metadata, "statistics.compute", path_);
  const GgufValue* gram = metadata.find("statistics.gram");
  const auto* flag = gram == nullptr ? nullptr : std::get_if<GgufBool>(gram);
  if (flag == nullptr) fail(path_, "no statistics.gram", "whole metadata");
  header_.has_gram = flag->value;
  header_.stages = metadata.find_unsigned("statistics.stages").value_or(0);
  if (header_.stages > kMostStages) {
    fail(path_, fmt::format("{} stages", header_.stages), "those of a model");
  }
  const auto names = array_of<std::string>(metadata, "statistics.texts", path_, std::nullopt);
  const std::size_t count = names.size();
  const auto hashes = array_of<std::string>(metadata, "statistics.text_hashes", path_, count);
  const auto tokens = array_of<std::uint64_t>(metadata, "statistics.text_tokens", path_, count);
  const auto sequences =
      array_of<std::uint64_t>(metadata, "statistics.text_sequences", path_, count);
  for (std::size_t i = 0; i < count; ++i) {
    header_.texts.push_back({names[i], hashes[i], tokens[i], sequences[i]});
  }
}

void StatisticsFile::read_inputs() {
  const GgufMetadata& metadata = *file_->gguf_metadata();
  const auto weights = array_of<std::string>(metadata, "statistics.weights", path_, std::nullopt);
  const std::size_t count = weights.size();
  const auto kinds = array_of<std::uint8_t>(metadata, "statistics.kinds", path_, count);
  const auto widths = array_of<std::uint64_t>(metadata, "statistics.widths", path_, count);
  const auto parts = array_of<std::uint64_t>(metadata, "statistics.parts", path_, count);
  if (count == 0) fail(path_, "no inputs", "at least one");
  for (std::size_t i = 0; i < count; ++i) {
    if (kinds[i] > static_cast<std::uint8_t>(InputParts::heads) || widths[i] == 0 ||
        widths[i] > (std::uint64_t{1} << 31) || parts[i] == 0) {
      fail(path_,
           fmt::format("input {} of kind {}, width {}, parts {}", i, kinds[i], widths[i], parts[i]),
           "sizes of a linear's input");
    }
    inputs_.push_back(
        {split_lines(weights[i]), static_cast<InputParts>(kinds[i]), widths[i], parts[i]});
    for (const std::string& weight : inputs_.back().weights) by_weight_.emplace(weight, i);
  }
}

std::span<const std::byte> StatisticsFile::bytes_of(std::size_t input, std::string_view array,
                                                    TensorType type, std::uint64_t per_part) const {
  const std::string name = array_name(input, array);
  const TensorInfo* tensor = file_->find(name);
  const auto values = checked_mul(inputs_[input].parts, per_part);
  const auto expected = values ? qwodel::bytes_of(type, *values) : std::nullopt;
  if (tensor == nullptr || tensor->type != type || !expected || tensor->bytes.size() != *expected) {
    fail(path_, fmt::format("no array {} or one of another size", name), "every input's sums");
  }
  return tensor->bytes;
}

std::vector<float> StatisticsFile::hidden_max_abs() const {
  if (header_.stages == 0) return {};
  const TensorInfo* tensor = file_->find(kHidden);
  if (tensor == nullptr || tensor->type != TensorType::f32 ||
      tensor->bytes.size() != header_.stages * sizeof(float)) {
    fail(path_, fmt::format("no array {} or one of another size", kHidden), "one value per stage");
  }
  return values_of<float>(tensor->bytes);
}

void StatisticsFile::check_values() const {
  const std::vector<float> hidden = hidden_max_abs();
  if (std::ranges::any_of(hidden, [](float x) { return !std::isfinite(x) || x < 0; })) {
    fail(path_, "a largest hidden state that is negative or not finite", "magnitudes");
  }
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const InputSums sums = read(i, false);
    const auto bad = [](double value) { return !std::isfinite(value) || value < 0; };
    const bool bad_sums = std::ranges::any_of(sums.sum_abs, bad) ||
                          std::ranges::any_of(sums.sum_squares, bad) ||
                          std::ranges::any_of(sums.max_abs, [&](float x) { return bad(x); });
    if (bad_sums || std::ranges::any_of(sums.counts, [](auto n) { return n >> 62 != 0; })) {
      fail(path_,
           fmt::format("a sum for {} that is negative or not finite", inputs_[i].weights.front()),
           "sums of magnitudes and squares");
    }
    if (!header_.has_gram) continue;
    const auto gram = bytes_of(i, kGram, TensorType::f32, triangle(inputs_[i].width));
    for (std::uint64_t p = 0; p < inputs_[i].parts; ++p) {
      for (std::uint64_t j = 0; j < inputs_[i].width; ++j) {
        float value = 0;
        const std::uint64_t at = p * triangle(inputs_[i].width) + triangle(j) + j;
        std::memcpy(&value, gram.data() + at * sizeof(float), sizeof(float));
        if (!bad(static_cast<double>(value))) continue;
        fail(path_,
             fmt::format("{} on the diagonal of {}'s Gram matrix", value,
                         inputs_[i].weights.front()),
             "sums of squares");
      }
    }
    drop_pages(gram);
  }
}

std::optional<std::size_t> StatisticsFile::find(std::string_view weight) const {
  const auto found = by_weight_.find(std::string(weight));
  if (found == by_weight_.end()) return std::nullopt;
  return found->second;
}

InputSums StatisticsFile::read(std::size_t input, bool with_gram) const {
  const std::uint64_t width = inputs_[input].width;
  InputSums sums;
  sums.counts = values_of<std::uint64_t>(bytes_of(input, kCounts, TensorType::i64, 1));
  sums.sum_abs = values_of<double>(bytes_of(input, kSumAbs, TensorType::f64, width));
  sums.sum_squares = values_of<double>(bytes_of(input, kSumSquares, TensorType::f64, width));
  sums.max_abs = values_of<float>(bytes_of(input, kMaxAbs, TensorType::f32, width));
  if (with_gram && header_.has_gram) {
    sums.gram = take_gram(bytes_of(input, kGram, TensorType::f32, triangle(width)));
  }
  return sums;
}

InputSums StatisticsFile::read_part(std::size_t input, std::size_t part) const {
  const auto width = static_cast<std::size_t>(inputs_[input].width);
  const auto only = [&]<class T>(std::vector<T>& values, std::size_t count) {
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(part * count);
    values = std::vector<T>(first, first + static_cast<std::ptrdiff_t>(count));
  };
  InputSums sums = read(input, false);
  only(sums.counts, 1);
  only(sums.sum_abs, width);
  only(sums.sum_squares, width);
  only(sums.max_abs, width);
  if (header_.has_gram) {
    const std::size_t bytes = static_cast<std::size_t>(triangle(width)) * sizeof(float);
    sums.gram = take_gram(
        bytes_of(input, kGram, TensorType::f32, triangle(width)).subspan(part * bytes, bytes));
  }
  return sums;
}

void require_same_model(const StatisticsFile& file, const std::string& model_hash,
                        const std::string& model) {
  if (file.header().model_hash == model_hash) return;
  throw ValidationError(
      {.where = file.path().string(),
       .found = fmt::format("statistics of {} ({})", file.header().model,
                            file.header().model_hash.substr(0, 8)),
       .expected = fmt::format("those of {} ({})", model, model_hash.substr(0, 8)),
       .remedy = "make them with qwodel calibrate and this model"});
}

void require_gram(const StatisticsFile& file) {
  if (file.header().has_gram) return;
  throw ValidationError({.where = file.path().string(),
                         .found = "statistics without second moments",
                         .expected = "X^T X of every input, which AWQ and GPTQ need",
                         .remedy = "make them with qwodel calibrate, without --no-gram"});
}

}  // namespace qwodel
