#include "targets/coreml/weight_encoder.h"

#include <algorithm>
#include <utility>

#include "codecs/bit_stream.h"
#include "codecs/group_int.h"
#include "kernels/convert.h"
#include "kernels/linear_codes.h"
#include "methods/gptq.h"
#include "methods/palette_gptq.h"

namespace qwodel {
namespace {

std::vector<float> to_floats(HalfMatrix rows) {
  std::vector<float> values(rows.rows * rows.cols);
  for (std::size_t row = 0; row < rows.rows; ++row) {
    half_to_float(rows.row(row).data(), rows.cols, values.data() + row * rows.cols);
  }
  return values;
}

template <class Quantized>
std::vector<float> decode_all(const Quantized& matrix) {
  const auto cols = static_cast<std::size_t>(matrix.cols);
  std::vector<float> values(static_cast<std::size_t>(matrix.rows) * cols);
  for (std::size_t row = 0; row < matrix.rows; ++row) {
    matrix.decode(row, {values.data() + row * cols, cols});
  }
  return values;
}

EncodedRows store(const LinearMatrix& matrix) {
  EncodedRows result;
  result.stored.codes = pack_bits(matrix.codes, matrix.scheme.bits);
  result.stored.scales = matrix.scales;
  result.stored.offsets = pack_bits(matrix.offsets, matrix.scheme.bits);
  result.decoded = decode_all(matrix);
  return result;
}

EncodedRows store(const PaletteMatrix& matrix) {
  EncodedRows result;
  result.stored.codes = pack_bits(matrix.codes, matrix.scheme.bits);
  result.stored.tables = matrix.tables;
  result.decoded = decode_all(matrix);
  return result;
}

}  // namespace

struct WeightEncoder::Shared {
  std::unique_ptr<PaletteFitter> fitter;  // while scanning
  std::vector<std::uint16_t> table;
  std::vector<std::uint8_t> codes;  // by half
  ValueRange range;
  bool has_range = false;
};

WeightEncoder::WeightEncoder(const WeightScheme& scheme, WeightFit fit, std::uint64_t rows,
                             std::uint64_t columns)
    : scheme_(scheme), fit_(std::move(fit)), rows_(rows), columns_(columns) {
  if (!needs_scan()) return;
  shared_ = std::make_unique<Shared>();
  if (scheme_.form == WeightForm::palette) {
    shared_->fitter = std::make_unique<PaletteFitter>(fit_.importance, rows_ * columns_);
  }
}

WeightEncoder::~WeightEncoder() = default;
WeightEncoder::WeightEncoder(WeightEncoder&&) noexcept = default;
WeightEncoder& WeightEncoder::operator=(WeightEncoder&&) noexcept = default;

bool WeightEncoder::needs_scan() const {
  return scheme_.form == WeightForm::palette
             ? scheme_.group_rows == 0
             : scheme_.form == WeightForm::linear && scheme_.per_tensor;
}

void WeightEncoder::scan(HalfMatrix rows) {
  if (scheme_.form == WeightForm::palette) {
    shared_->fitter->add(rows);
    return;
  }
  const std::vector<float> values = to_floats(rows);
  ValueRange range;
  find_ranges(values.data(), values.size(), values.size(), &range.low, &range.high);
  ValueRange& all = shared_->range;
  all.low = shared_->has_range ? std::min(all.low, range.low) : range.low;
  all.high = shared_->has_range ? std::max(all.high, range.high) : range.high;
  shared_->has_range = true;
}

void WeightEncoder::finish_scan() {
  if (scheme_.form != WeightForm::palette) return;
  shared_->table.resize(palette_scheme().entries());
  shared_->fitter->fit(shared_->table);
  shared_->codes = shared_->fitter->take_codes();
  shared_->fitter.reset();
}

PaletteScheme WeightEncoder::palette_scheme() const {
  return {.bits = scheme_.bits, .group_rows = scheme_.group_rows};
}

LinearScheme WeightEncoder::linear_scheme() const {
  return {.bits = scheme_.bits,
          .symmetric = scheme_.symmetric,
          .block_rows = scheme_.per_tensor ? 0u : 1u,
          .block_cols = scheme_.block};
}

std::uint64_t WeightEncoder::row_step() const {
  return scheme_.form == WeightForm::palette ? std::max<std::uint64_t>(scheme_.group_rows, 1) : 1;
}

EncodedRows WeightEncoder::encode(HalfMatrix rows, bool first) const {
  switch (scheme_.form) {
    case WeightForm::linear:
      return encode_linear(rows, first);
    case WeightForm::palette:
      return encode_palette(rows, first);
    case WeightForm::float16:
      break;
  }
  EncodedRows result;
  for (std::size_t row = 0; row < rows.rows; ++row) {
    const auto bytes = std::as_bytes(rows.row(row));
    result.stored.codes.insert(result.stored.codes.end(), bytes.begin(), bytes.end());
  }
  result.decoded = to_floats(rows);
  return result;
}

EncodedRows WeightEncoder::encode_linear(HalfMatrix rows, bool first) const {
  const std::vector<float> values = to_floats(rows);
  const ConstMatrixView view(values.data(), rows.rows, rows.cols);
  if (fit_.search && can_feed_back()) {
    const GroupIntScheme scheme{
        .bits = scheme_.bits, .group_size = scheme_.block, .symmetric = true};
    GroupIntMatrix matrix(scheme, rows.rows, rows.cols);
    fit_rows(view, fit_.importance, search_of(scheme, true), 0, matrix);
    round_rows(view, 0, matrix);
    return store(to_linear(matrix));
  }
  if (!scheme_.per_tensor) return store(fit_linear(view, linear_scheme()));
  LinearMatrix matrix(linear_scheme(), rows.rows, rows.cols);
  set_block(shared_->range, 0, matrix);
  round_linear(view, 0, matrix);
  EncodedRows result = store(matrix);
  if (first) return result;
  result.stored.scales.clear();
  result.stored.offsets.clear();
  return result;
}

EncodedRows WeightEncoder::encode_palette(HalfMatrix rows, bool first) const {
  if (shared_ == nullptr) return store(fit_palettes(rows, fit_.importance, palette_scheme()));
  PaletteMatrix matrix(palette_scheme(), rows.rows, rows.cols);
  matrix.tables = shared_->table;
  std::uint8_t* code = matrix.codes.data();
  for (std::size_t row = 0; row < rows.rows; ++row) {
    for (const std::uint16_t half : rows.row(row)) *code++ = shared_->codes[half];
  }
  EncodedRows result = store(matrix);
  if (!first) result.stored.tables.clear();
  return result;
}

bool WeightEncoder::can_feed_back() const {
  if (scheme_.form == WeightForm::palette) return true;
  return scheme_.form == WeightForm::linear && scheme_.symmetric && !scheme_.per_tensor &&
         scheme_.bits == 4 && (scheme_.block == 0 ? columns_ : scheme_.block) % 4 == 0;
}

EncodedRows WeightEncoder::encode_with_feedback(HalfMatrix rows,
                                                const HessianFactor& factor) const {
  std::vector<float> values = to_floats(rows);
  const MatrixView view(values.data(), rows.rows, rows.cols);
  if (scheme_.form == WeightForm::palette) {
    PaletteMatrix matrix = fit_palettes(rows, factor.importance, palette_scheme());
    gptq(view, factor, matrix);
    return store(matrix);
  }
  const GroupIntScheme scheme{.bits = scheme_.bits, .group_size = scheme_.block, .symmetric = true};
  GroupIntMatrix matrix(scheme, rows.rows, rows.cols);
  fit_rows(view, factor.importance, search_of(scheme, true), 0, matrix);
  gptq(view, factor, matrix);
  return store(to_linear(matrix));
}

}  // namespace qwodel
