#include <fmt/format.h>

#include <algorithm>

#include "calibrate/statistics.h"
#include "io/atomic_file.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

[[noreturn]] void refuse(const StatisticsFile& file, std::string found, std::string expected) {
  throw ValidationError({.where = file.path().string(),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = "merge files of one model, made with the same options"});
}

void check_like_first(const StatisticsFile& first, const StatisticsFile& file) {
  require_same_model(file, first.header().model_hash, first.header().model);
  if (file.header().compute != first.header().compute) {
    refuse(file, "products in " + file.header().compute, first.header().compute);
  }
  if (file.header().has_gram != first.header().has_gram) {
    refuse(file, file.header().has_gram ? "Gram matrices" : "no Gram matrices",
           "the same as in " + first.path().string());
  }
  if (file.inputs() != first.inputs()) {
    refuse(file, "other inputs", "those of " + first.path().string());
  }
}

template <class T>
void add_to(std::vector<T>& sums, const std::vector<T>& more) {
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += more[i];
}

using Files = std::vector<std::unique_ptr<StatisticsFile>>;

InputSums sum_of(const Files& files, std::size_t input) {
  InputSums sums = files.front()->read(input, false);
  for (std::size_t f = 1; f < files.size(); ++f) {
    const InputSums more = files[f]->read(input, false);
    add_to(sums.counts, more.counts);
    add_to(sums.sum_abs, more.sum_abs);
    add_to(sums.sum_squares, more.sum_squares);
    for (std::size_t i = 0; i < sums.max_abs.size(); ++i) {
      sums.max_abs[i] = std::max(sums.max_abs[i], more.max_abs[i]);
    }
  }
  return sums;
}

std::vector<float> gram_of(const Files& files, std::size_t input, std::size_t part) {
  std::vector<float> values = files.front()->read_part(input, part).gram;
  std::vector<double> sums(values.begin(), values.end());
  for (std::size_t f = 1; f < files.size(); ++f) {
    const std::vector<float> more = files[f]->read_part(input, part).gram;
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += static_cast<double>(more[i]);
  }
  std::ranges::transform(sums, values.begin(), [](double x) { return static_cast<float>(x); });
  return values;
}

// Of each stage, in all files; empty when one of them does not say.
std::vector<float> largest_hidden(const std::vector<std::unique_ptr<StatisticsFile>>& files) {
  std::vector<float> largest = files.front()->hidden_max_abs();
  for (const auto& file : files) {
    const std::vector<float> more = file->hidden_max_abs();
    largest.resize(std::min(largest.size(), more.size()));
    for (std::size_t i = 0; i < largest.size(); ++i) largest[i] = std::max(largest[i], more[i]);
  }
  return largest;
}

}  // namespace

void merge_statistics(std::span<const std::filesystem::path> files,
                      const std::filesystem::path& output, bool replace) {
  Files opened;
  StatisticsHeader header;
  for (const auto& path : files) {
    opened.push_back(std::make_unique<StatisticsFile>(path));
    const StatisticsFile& file = *opened.back();
    if (opened.size() == 1) header = file.header();
    // Files of an older version do not have them.
    header.stages = std::min(header.stages, file.header().stages);
    check_like_first(*opened.front(), file);
    if (opened.size() == 1) continue;
    for (const CalibrationText& text : file.header().texts) {
      const bool twice = std::ranges::any_of(
          header.texts, [&](const CalibrationText& other) { return other.hash == text.hash; });
      if (twice) refuse(file, text.name + " a second time", "texts that are in one file only");
      header.texts.push_back(text);
    }
  }
  if (opened.empty()) {
    throw Error(ErrorCode::usage,
                {.where = "--merge", .found = "no files", .expected = "two or more", .remedy = ""});
  }
  const StatisticsLayout layout(header, opened.front()->inputs());
  AtomicFile file(output, layout.file_size(), replace);
  file.write_at(0, layout.header());
  const auto write = [&](std::uint64_t at, std::span<const std::byte> bytes) {
    file.write_at(at, bytes);
  };
  for (std::size_t i = 0; i < opened.front()->inputs().size(); ++i) {
    layout.write(i, sum_of(opened, i), write);
    const StatisticsInput& input = opened.front()->inputs()[i];
    for (std::size_t p = 0; header.has_gram && p < input.parts; ++p) {
      layout.write_gram(i, p * triangle(input.width), gram_of(opened, i, p), write);
    }
  }
  const std::vector<float> hidden = largest_hidden(opened);
  for (std::size_t stage = 0; stage < hidden.size(); ++stage) {
    layout.write_hidden(stage, hidden[stage], write);
  }
  file.commit();
}

}  // namespace qwodel
