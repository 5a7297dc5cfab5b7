// Keys and values that stay in the model between calls.
//
// What was read of a state has a slice replaced, is written and read again, which the next layer
// goes on with: the form that GPU compilers update in place.
#include <fmt/format.h>

#include "qwodel/error.h"
#include "targets/coreml/lowering.h"
#include "targets/coreml/mil_ops.h"

namespace qwodel {
namespace {

MilValue read_state(MilBuilder& mil, const MilValue& state) {
  return mil.op("read_state", "read_" + state.name, {{"input", state}}, state.type, state.dims);
}

// Replaces positions [past, end) of one layer; gives all up to the end: [1, kv_heads, keys, dim].
MilValue append(Lowering& lowering, Cache& cache, const MilValue& fresh) {
  MilBuilder& mil = lowering.mil;
  const MilValue& state = cache.state;
  if (!cache.now) cache.now = read_state(mil, state);
  const Sequence& sequence = lowering.sequence;
  const std::int32_t layer = lowering.caches->next_layer;
  const MilValue zero = mil.integers({0});
  const MilValue at = mil.integers({layer});
  const MilValue next = mil.integers({layer + 1});
  const MilValue stride = mil.integers({1, 1, 1, 1, 1});
  const MilValue only_layer = mil.flags({true, false, false, false, false});
  const auto indices = [&](const char* name, const MilValue& first, const MilValue& fourth) {
    return mil.concat(name, {first, zero, zero, fourth, zero}, 0, {5});
  };
  const MilValue end = indices("cache_end", next, sequence.end);
  const MilValue kept = mil.flags({false, true, true, false, true});
  const MilValue updated = mil.op("slice_update", "updated_" + state.name,
                                  {{"x", *cache.now},
                                   {"update", fresh},
                                   {"begin", indices("cache_begin", at, sequence.past)},
                                   {"end", end},
                                   {"stride", stride},
                                   {"begin_mask", kept},
                                   {"end_mask", kept},
                                   {"squeeze_mask", only_layer}},
                                  state.type, state.dims);
  mil.write_state(state, updated);
  cache.now = read_state(mil, state);
  return mil.op("slice_by_index", "layer_" + state.name,
                {{"x", *cache.now},
                 {"begin", mil.integers({layer, 0, 0, 0, 0})},
                 {"end", end},
                 {"stride", stride},
                 {"begin_mask", mil.flags({false, true, true, true, true})},
                 {"end_mask", kept},
                 {"squeeze_mask", only_layer}},
                state.type, {1, state.dims[2], sequence.keys, state.dims[4]});
}

}  // namespace

Caches make_caches(Lowering& lowering) {
  const AttentionOp* first = nullptr;
  std::int64_t layers = 0;
  for (const Stage& stage : lowering.graph.stages) {
    for (const Op& op : stage.ops) {
      const auto* attention = std::get_if<AttentionOp>(&op.kind);
      if (attention == nullptr) continue;
      ++layers;
      if (first == nullptr) first = attention;
      if (attention->kv_heads == first->kv_heads && attention->key_dim == first->key_dim &&
          attention->value_dim == first->value_dim) {
        continue;
      }
      throw FormatNotSupportedError(
          {.where = stage.name,
           .found = fmt::format("{} heads of {} keys and {} values", attention->kv_heads,
                                attention->key_dim, attention->value_dim),
           .expected = fmt::format("{} heads of {} and {} as in the layers before", first->kv_heads,
                                   first->key_dim, first->value_dim),
           .remedy = "make a stateless package with --form stateless"});
    }
  }
  if (first == nullptr) {
    throw FormatNotSupportedError({.where = "--form stateful",
                                   .found = "a model without attention",
                                   .expected = "keys and values to keep",
                                   .remedy = "use --form stateless"});
  }
  const auto dims = [&](std::uint64_t width) {
    return MilDims{layers, 1, static_cast<std::int64_t>(first->kv_heads),
                   static_cast<std::int64_t>(lowering.options.context_length),
                   static_cast<std::int64_t>(width)};
  };
  Caches caches;
  caches.keys.state = lowering.mil.state("keyCache", dims(first->key_dim));
  caches.values.state = lowering.mil.state("valueCache", dims(first->value_dim));
  return caches;
}

KeysValues update_caches(Lowering& lowering, const KeysValues& fresh) {
  const KeysValues all{append(lowering, lowering.caches->keys, fresh.keys),
                       append(lowering, lowering.caches->values, fresh.values)};
  ++lowering.caches->next_layer;
  return all;
}

}  // namespace qwodel
