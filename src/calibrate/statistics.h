// What calibration knows of the inputs of a model's linears, and the file that holds it.
//
// A statistics file (.qstats) is a GGUF with general.type = "statistics": metadata says which
// model, texts and compute type it comes from and which weights read each input; tensors hold the
// sums. Sums, not means, so that files of several texts merge by adding.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "calibrate/linear_input.h"
#include "formats/checkpoint.h"
#include "formats/gguf_writer.h"

namespace qwodel {

struct CalibrationText {
  std::string name;
  std::string hash;  // hash_of() of its sequences
  std::uint64_t tokens = 0;
  std::uint64_t sequences = 0;
};

struct StatisticsHeader {
  std::string model;       // its name, for messages
  std::string model_hash;  // hash_of_model()
  std::string compute;     // type of the matrix products: "f32" or "bf16"
  bool has_gram = false;
  std::uint64_t stages = 0;  // of the model, with the largest hidden state of each; 0: not kept
  std::vector<CalibrationText> texts;
};

// An input and the GGUF names of the weights that read it.
struct StatisticsInput {
  std::vector<std::string> weights;
  InputParts kind = InputParts::whole;
  std::uint64_t width = 0;
  std::uint64_t parts = 1;

  bool operator==(const StatisticsInput&) const = default;
};

// Sums over the rows of one input. Part p of an array begins at p * width; gram at p * width *
// (width + 1) / 2, the lower triangle of X^T X row by row.
struct InputSums {
  std::vector<std::uint64_t> counts;  // [parts] rows
  std::vector<double> sum_abs;        // [parts, width]
  std::vector<double> sum_squares;    // [parts, width]
  std::vector<float> max_abs;         // [parts, width]
  std::vector<float> gram;            // [parts, width (width + 1) / 2], or empty
};

// Values in the lower triangle with the diagonal of a square matrix.
constexpr std::uint64_t triangle(std::uint64_t width) { return width * (width + 1) / 2; }

// Where everything of a statistics file is: known before the first number is.
class StatisticsLayout {
 public:
  StatisticsLayout(const StatisticsHeader& header, const std::vector<StatisticsInput>& inputs);

  const std::vector<std::byte>& header() const { return layout_.header; }
  std::uint64_t file_size() const { return layout_.file_size; }

  // Calls write(offset, bytes) for each array of an input but its Gram matrices. REQUIRES: sizes
  // fit the input.
  template <class Write>
  void write(std::size_t input, const InputSums& sums, const Write& write) const {
    const std::size_t first = input * arrays_;
    write(layout_.offsets[first], std::as_bytes(std::span(sums.counts)));
    write(layout_.offsets[first + 1], std::as_bytes(std::span(sums.sum_abs)));
    write(layout_.offsets[first + 2], std::as_bytes(std::span(sums.sum_squares)));
    write(layout_.offsets[first + 3], std::as_bytes(std::span(sums.max_abs)));
  }

  // The same for values of InputSums::gram from `first` on. REQUIRES: the header says so.
  template <class Write>
  void write_gram(std::size_t input, std::uint64_t first, std::span<const float> values,
                  const Write& write) const {
    write(layout_.offsets[input * arrays_ + 4] + first * sizeof(float), std::as_bytes(values));
  }

  // Calls write(offset, bytes) for the largest magnitude of a stage's output. REQUIRES: the header
  // has stages.
  template <class Write>
  void write_hidden(std::size_t stage, float max_abs, const Write& write) const {
    write(layout_.offsets.back() + stage * sizeof(float), std::as_bytes(std::span(&max_abs, 1)));
  }

 private:
  GgufLayout layout_;
  std::size_t arrays_;  // per input; the stages' come last
};

// A statistics file, mapped. Thread-safe.
class StatisticsFile {
 public:
  // Throws ValidationError for a damaged file, another kind, another version, or sums that are
  // negative or not finite (of Gram matrices only the diagonal is looked at).
  explicit StatisticsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const StatisticsHeader& header() const { return header_; }
  const std::vector<StatisticsInput>& inputs() const { return inputs_; }

  // Which input a weight reads, by GGUF name.
  std::optional<std::size_t> find(std::string_view weight) const;

  InputSums read(std::size_t input, bool with_gram) const;

  // Of one part, as if there were no other; with its Gram matrix if the file has it.
  InputSums read_part(std::size_t input, std::size_t part) const;

  // The largest magnitude of what each stage gives; of the last, of what the head multiplies. Empty
  // for a file that does not have them.
  std::vector<float> hidden_max_abs() const;

 private:
  std::span<const std::byte> bytes_of(std::size_t input, std::string_view array, TensorType type,
                                      std::uint64_t per_part) const;
  void read_header();
  void read_inputs();
  void check_values() const;

  std::filesystem::path path_;
  std::unique_ptr<Checkpoint> file_;
  StatisticsHeader header_;
  std::vector<StatisticsInput> inputs_;
  std::unordered_map<std::string, std::size_t> by_weight_;
};

// Throws ValidationError when the file is of another model.
void require_same_model(const StatisticsFile& file, const std::string& model_hash,
                        const std::string& model);

// Throws ValidationError when the file has no second moments.
void require_gram(const StatisticsFile& file);

// Writes the sums of all files, which are of the same model, compute type and inputs and of
// different texts, else ValidationError. The order of the files changes the order of the texts
// only: two files give the same sums either way.
void merge_statistics(std::span<const std::filesystem::path> files,
                      const std::filesystem::path& output, bool replace);

}  // namespace qwodel
