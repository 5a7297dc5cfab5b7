#include "graph/rope_tables.h"

#include <algorithm>
#include <cmath>

namespace qwodel {
namespace {

// The angle is rounded to single precision, as the models were trained with it.
RopeTable make_table(const std::vector<float>& frequencies, float magnitude,
                     std::size_t positions) {
  RopeTable table{.pairs = frequencies.size(), .positions = positions, .cosines = {}, .sines = {}};
  table.cosines.reserve(positions * table.pairs);
  table.sines.reserve(positions * table.pairs);
  for (std::size_t position = 0; position < positions; ++position) {
    for (const float frequency : frequencies) {
      const auto angle = static_cast<double>(static_cast<float>(position) * frequency);
      table.cosines.push_back(static_cast<float>(std::cos(angle)) * magnitude);
      table.sines.push_back(static_cast<float>(std::sin(angle)) * magnitude);
    }
  }
  return table;
}

}  // namespace

std::shared_ptr<const RopeTable> RopeTables::find(const RopeOp& op, std::uint64_t length) {
  const bool is_long = !op.long_frequencies.empty() && length > op.long_context;
  Key key{is_long ? op.long_frequencies : op.frequencies,
          is_long ? op.long_magnitude : op.magnitude};
  const auto wanted = static_cast<std::size_t>(length);
  const std::scoped_lock lock(mutex_);
  auto found = std::ranges::find(tables_, key, [](const auto& entry) { return entry.first; });
  if (found == tables_.end()) {
    tables_.emplace_front(std::move(key), nullptr);
    found = tables_.begin();
  }
  if (found->second == nullptr || found->second->positions < wanted) {
    // Doubled, so that generation does not make a new table for every token.
    const std::size_t positions =
        found->second == nullptr ? wanted : std::max(wanted, 2 * found->second->positions);
    found->second = std::make_shared<const RopeTable>(
        make_table(found->first.frequencies, found->first.magnitude, positions));
  }
  return found->second;
}

}  // namespace qwodel
