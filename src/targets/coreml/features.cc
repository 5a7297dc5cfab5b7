#include "targets/coreml/features.h"

#include <algorithm>

namespace qwodel {
namespace {

using coreml::ArrayFeatureType;

ArrayFeatureType& add_array(coreml::FeatureDescription& feature, const std::string& name,
                            const std::string& summary, ArrayFeatureType::ArrayDataType type) {
  feature.set_name(name);
  feature.set_short_description(summary);
  ArrayFeatureType& array = *feature.mutable_type()->mutable_multi_array_type();
  array.set_data_type(type);
  return array;
}

// Flexible extents go from 1 to `longest` and are 1 by default.
void set_ranges(const MilDims& dims, std::uint64_t longest, ArrayFeatureType& array) {
  for (const std::int64_t extent : dims) {
    array.add_shape(extent == kFlexible ? 1 : extent);
    coreml::SizeRange& range = *array.mutable_shape_range()->add_size_ranges();
    range.set_lower_bound(extent == kFlexible ? 1 : static_cast<std::uint64_t>(extent));
    range.set_upper_bound(extent == kFlexible ? static_cast<std::int64_t>(longest) : extent);
  }
}

void set_shape(const MilDims& dims, ArrayFeatureType& array) {
  for (const std::int64_t extent : dims) array.add_shape(extent);
}

void set_lengths(const std::vector<std::uint64_t>& lengths, ArrayFeatureType& array) {
  for (const std::uint64_t length : lengths) {
    auto& shape = *array.mutable_enumerated_shapes()->add_shapes();
    shape.add_shape(1);
    shape.add_shape(static_cast<std::int64_t>(length));
  }
  set_shape({1, static_cast<std::int64_t>(lengths.front())}, array);
}

void add_state(const MilValue& value, const std::string& summary,
               coreml::ModelDescription& description) {
  coreml::FeatureDescription& feature = *description.add_state();
  feature.set_name(value.name);
  feature.set_short_description(summary);
  ArrayFeatureType& array = *feature.mutable_type()->mutable_state_type()->mutable_array_type();
  array.set_data_type(ArrayFeatureType::FLOAT16);
  set_shape(value.dims, array);
}

// The shape of token ids and of what comes with each of them.
void set_tokens(const CoremlOptions& options, const MilDims& dims, ArrayFeatureType& array) {
  if (options.sequence_lengths.size() > 1) {
    set_lengths(options.sequence_lengths, array);
  } else if (dims[1] == kFlexible) {
    set_ranges(dims, options.context_length, array);
  } else {
    set_shape(dims, array);
  }
}

void describe_mask(const Lowering& lowering, coreml::ModelDescription& description) {
  const auto& mask = lowering.sequence.mask_input;
  if (!mask) return;
  coreml::FeatureDescription& feature = *description.add_input();
  if (lowering.graph.is_encoder) {
    set_tokens(
        lowering.options, mask->dims,
        add_array(feature, mask->name, "1 for a token, 0 for padding", ArrayFeatureType::INT32));
    return;
  }
  set_ranges(mask->dims, lowering.options.context_length,
             add_array(feature, mask->name,
                       "Added to attention scores: 0 where a token sees a position, -30000 where "
                       "not; as many columns as tokens so far with those of this call",
                       ArrayFeatureType::FLOAT16));
}

const char* output_summary(const Lowering& lowering) {
  if (!lowering.graph.is_encoder) return "Scores of the token that follows";
  switch (lowering.options.pooling) {
    case Pooling::mean:
      return "The mean of what the tokens became";
    case Pooling::first:
      return "What the first token became";
    case Pooling::none:
      break;
  }
  return "What each token became";
}

}  // namespace

void describe_features(const Lowering& lowering, const MilValue& ids, const MilValue& result,
                       coreml::ModelDescription& description) {
  set_tokens(lowering.options, ids.dims,
             add_array(*description.add_input(), ids.name, "Token ids of this call",
                       ArrayFeatureType::INT32));
  describe_mask(lowering, description);
  ArrayFeatureType& output = add_array(*description.add_output(), result.name,
                                       output_summary(lowering), ArrayFeatureType::FLOAT16);
  if (std::ranges::count(result.dims, kFlexible) == 0) set_shape(result.dims, output);
  if (lowering.caches) {
    add_state(lowering.caches->keys.state, "Keys of the tokens so far", description);
    add_state(lowering.caches->values.state, "Values of the tokens so far", description);
  }
}

}  // namespace qwodel
