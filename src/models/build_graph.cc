#include "models/build_graph.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "models/decoder_graph.h"
#include "models/encoder_graph.h"
#include "models/graph_traits.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

[[noreturn]] void fail_unknown(const std::string& architecture) {
  std::string known;
  for (const DecoderTraits& row : decoder_traits()) {
    if (!known.empty()) known += ", ";
    known += row.architecture;
  }
  throw FormatNotSupportedError(
      {.where = "general.architecture",
       .found = fmt::format("{}, which has no graph to run", architecture),
       .expected = "one of " + known,
       .remedy = {}});
}

Graph build(const ModelSpec& spec, const DecoderTraits& traits, bool is_encoder) {
  GraphBuilder builder(spec);
  const DecoderSettings model = decoder_settings(builder, traits);
  (is_encoder ? add_encoder : add_decoder)(builder, model);
  Graph graph = builder.finish();
  graph.hidden_size = model.hidden_size;
  graph.vocab_size = model.vocab_size;
  graph.context_length = model.context_length;
  graph.is_encoder = is_encoder;
  validate_graph(graph, spec.architecture);
  return graph;
}

}  // namespace

Graph build_graph(const ModelSpec& spec) {
  if (const DecoderTraits* encoder = find_encoder_traits(spec.architecture)) {
    return build(spec, *encoder, true);
  }
  const DecoderTraits* traits = find_decoder_traits(spec.architecture);
  if (traits == nullptr) fail_unknown(spec.architecture);
  return build(spec, *traits, false);
}

}  // namespace qwodel
