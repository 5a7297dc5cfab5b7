#include "eval/log_prob_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/checked.h"
#include "io/byte_cursor.h"
#include "kernels/logit_sums.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::string_view kMagic = "_logits_";
constexpr float kRange = 16;  // nats below the largest logit that codes reach

[[noreturn]] void fail(const std::string& where, std::string found, std::string expected) {
  throw ValidationError({.where = where,
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = "make the file again with --save-base or llama-perplexity"});
}

std::uint64_t checked_size(const LogProbShape& shape, const std::string& where) {
  const auto rows = checked_mul(shape.chunks, shape.rows_per_chunk());
  const auto data = rows ? checked_mul(*rows, shape.row_bytes()) : std::nullopt;
  const auto size = data ? checked_add(*data, shape.header_bytes()) : std::nullopt;
  if (!size) fail(where, "a size beyond 64 bits", "a file that fits a disk");
  return *size;
}

}  // namespace

void encode_log_probs(std::span<const float> logits, std::span<std::uint16_t> out) {
  LogitSums sums;
  add_logits(logits.data(), logits.size(), 0, sums);
  const double log_sum = std::log(sums.sum);
  if (!std::isfinite(log_sum) || !std::isfinite(sums.max)) {
    throw ValidationError({.where = "logits",
                           .found = "a value that is not finite",
                           .expected = "finite logits",
                           .remedy = "with --compute bf16, try f32"});
  }
  // Single precision from here, in the order of the reference, so that codes are the same.
  const auto max = static_cast<float>(sums.max);
  const float min = std::max(*std::min_element(logits.begin(), logits.end()), max - kRange);
  const float min_log_prob = min - max - static_cast<float>(log_sum);
  const float scale = (max - min) / 65535.0f;
  std::memcpy(out.data(), &scale, sizeof(float));
  std::memcpy(out.data() + 2, &min_log_prob, sizeof(float));
  const auto codes = out.subspan(4);
  std::ranges::fill(codes, std::uint16_t{0});
  if (scale == 0) return;
  const float inverse = 1 / scale;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > min)) continue;
    codes[i] = static_cast<std::uint16_t>(std::nearbyint(inverse * (logits[i] - min)));
  }
}

LogProbWriter::LogProbWriter(const std::filesystem::path& path, const LogProbShape& shape,
                             std::span<const std::uint32_t> tokens, bool replace)
    : shape_(shape), file_(path, checked_size(shape, path.string()), replace) {
  const std::array<std::uint32_t, 3> sizes = {shape.context, shape.vocab_size, shape.chunks};
  file_.write_at(0, std::as_bytes(std::span(kMagic)));
  file_.write_at(kMagic.size(), std::as_bytes(std::span(sizes)));
  file_.write_at(kMagic.size() + sizeof(sizes), std::as_bytes(tokens));
}

void LogProbWriter::write(std::uint64_t row, std::span<const float> logits) {
  std::vector<std::uint16_t> codes(static_cast<std::size_t>(shape_.codes_per_row()));
  encode_log_probs(logits, codes);
  file_.write_at(shape_.header_bytes() + row * shape_.row_bytes(), std::as_bytes(std::span(codes)));
}

LogProbReader::LogProbReader(const std::filesystem::path& path) : file_(path) {
  const std::string where = path.string();
  ByteCursor cursor(file_.bytes(), where);
  if (file_.bytes().size() < kMagic.size() || cursor.text(kMagic.size(), "magic") != kMagic) {
    fail(where, "another kind of file", "\"_logits_\" at its beginning");
  }
  const auto positive = [&](std::string_view what) {
    const auto value = cursor.read<std::int32_t>(what);
    if (value <= 0) fail(where, fmt::format("{} of {}", what, value), "a positive number");
    return static_cast<std::uint32_t>(value);
  };
  shape_.context = positive("context");
  shape_.vocab_size = positive("vocabulary");
  shape_.chunks = positive("chunks");
  if (shape_.context < 4) fail(where, fmt::format("context {}", shape_.context), "at least 4");
  const std::uint64_t size = checked_size(shape_, where);
  if (file_.bytes().size() != size) {
    fail(where, fmt::format("{} bytes", file_.bytes().size()), fmt::format("{}", size));
  }
  tokens_.resize(static_cast<std::size_t>(shape_.chunks) * shape_.context);
  const auto bytes = cursor.take(tokens_.size() * sizeof(std::uint32_t), "tokens");
  std::memcpy(tokens_.data(), bytes.data(), bytes.size());
  for (const std::uint32_t token : tokens_) {
    if (token < shape_.vocab_size) continue;
    fail(where, fmt::format("token {}", token), fmt::format("ids below {}", shape_.vocab_size));
  }
}

void LogProbReader::read(std::uint64_t first_row, std::uint64_t first_column,
                         MatrixView out) const {
  for (std::size_t i = 0; i < out.rows; ++i) {
    const auto row = file_.bytes().subspan(
        static_cast<std::size_t>(shape_.header_bytes() + (first_row + i) * shape_.row_bytes()),
        static_cast<std::size_t>(shape_.row_bytes()));
    std::array<float, 2> scale_and_min{};
    std::memcpy(scale_and_min.data(), row.data(), sizeof(scale_and_min));
    const auto [scale, min] = scale_and_min;
    if (!std::isfinite(scale) || !std::isfinite(min)) {
      fail(file_.path().string(), fmt::format("a scale of {}, a minimum of {}", scale, min),
           "finite numbers");
    }
    const std::byte* codes = row.data() + (4 + first_column) * sizeof(std::uint16_t);
    const auto values = out.row(i);
    for (std::size_t j = 0; j < values.size(); ++j) {
      std::uint16_t code = 0;
      std::memcpy(&code, codes + j * sizeof(code), sizeof(code));
      values[j] = scale * static_cast<float>(code) + min;
    }
  }
}

}  // namespace qwodel
