#include "calibrate/part_grams.h"

#include <algorithm>

#include "calibrate/statistics.h"

namespace qwodel {
namespace {

// Where a band that begins at `first` ends: at least one row of tiles.
std::size_t band_end(std::size_t width, std::size_t first, std::uint64_t memory) {
  std::size_t end = std::min(width, first + GramSum::kTile);
  while (end < width) {
    const std::size_t next = std::min(width, end + GramSum::kTile);
    if (GramSum::bytes(width, first, next) > memory) break;
    end = next;
  }
  return end;
}

}  // namespace

PartGrams::PartGrams(std::size_t width, std::size_t parts, ComputeType compute,
                     std::uint64_t memory, const std::filesystem::path& scratch)
    : width_(width), compute_(compute), sums_(parts) {
  const std::uint64_t each = GramSum::bytes(width, 0, width);
  if (each <= memory / parts) {
    held_ = each * parts;
  } else {
    spool_.emplace(width, parts, compute, scratch);
  }
}

void PartGrams::add(std::size_t part, ConstMatrixView rows, const TaskThreads& threads) {
  if (spool_) {
    // The runs that GramSum::add() makes: one is in memory when they are read again.
    for (std::size_t first = 0; first < rows.rows; first += GramSum::kRows) {
      spool_->append(part, rows.row_range(first, std::min(GramSum::kRows, rows.rows - first)));
    }
    return;
  }
  if (!sums_[part]) sums_[part].emplace(width_, compute_);
  sums_[part]->add(rows, threads);
}

void PartGrams::finish(std::uint64_t memory, const TaskThreads& threads, const Emit& emit) {
  for (std::size_t part = 0; part < sums_.size(); ++part) {
    if (spool_) {
      finish_spooled(part, memory, threads, emit);
      continue;
    }
    std::vector<float> values(static_cast<std::size_t>(triangle(width_)));
    if (sums_[part]) sums_[part]->store(values);
    sums_[part].reset();
    emit(part * triangle(width_), values);
  }
  held_ = 0;
  spool_.reset();
}

void PartGrams::finish_spooled(std::size_t part, std::uint64_t memory, const TaskThreads& threads,
                               const Emit& emit) const {
  std::size_t end = 0;
  for (std::size_t first = 0; first < width_; first = end) {
    end = band_end(width_, first, memory);
    GramSum sum(width_, first, end, compute_);
    spool_->visit(part, [&](ConstMatrixView rows) { sum.add(rows, threads); });
    std::vector<float> values(static_cast<std::size_t>(triangle(end) - triangle(first)));
    sum.store(values);
    emit(part * triangle(width_) + triangle(first), values);
  }
}

}  // namespace qwodel
