#include "tokenizer/post_processor.h"

#include <fmt/format.h>

#include "qwodel/error.h"
#include "tokenizer/json_members.h"
#include "tokenizer/tokenizer_json.h"

namespace qwodel {
namespace {

constexpr int kMaxDepth = 16;

class Reader {
 public:
  explicit Reader(const std::string& source) : source_(source) {}

  void read(const Json& definition, int depth) {
    const std::string type = text_member(definition, "type");
    const Json* parts = find_member(definition, "processors");
    if (type == "Sequence" && depth < kMaxDepth && parts != nullptr && parts->is_array()) {
      for (const Json& part : *parts) read(part, depth + 1);
    } else if (type == "TemplateProcessing") {
      read_template(definition);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      surround({named_id(definition, "cls")}, {named_id(definition, "sep")});
    } else if (type != "ByteLevel") {  // which only moves offsets
      throw FormatNotSupportedError({.where = source_,
                                     .found = fmt::format("the post-processor \"{}\"", type),
                                     .expected = "a known one",
                                     .remedy = ""});
    }
  }

  SurroundingTokens take() { return std::move(result_); }

 private:
  using Ids = std::vector<std::uint32_t>;

  [[noreturn]] void refuse(std::string found, std::string expected) const {
    throw ValidationError({.where = source_,
                           .found = "post_processor with " + std::move(found),
                           .expected = std::move(expected),
                           .remedy = ""});
  }

  // Around what earlier processors put there.
  void surround(Ids before, const Ids& after) {
    before.insert(before.end(), result_.before.begin(), result_.before.end());
    result_.before = std::move(before);
    result_.after.insert(result_.after.end(), after.begin(), after.end());
  }

  std::uint32_t id_of(const Json& value) const {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= kMaxTokens) {
      refuse(fmt::format("the id {}", value.dump(-1, ' ', false, Json::error_handler_t::replace)),
             fmt::format("0 to {}", kMaxTokens - 1));
    }
    return value.get<std::uint32_t>();
  }

  // The id of [text, id].
  std::uint32_t named_id(const Json& definition, const char* key) const {
    const Json* pair = find_member(definition, key);
    if (pair == nullptr || !pair->is_array() || pair->size() != 2) {
      refuse(fmt::format("no \"{}\"", key), "[token, id]");
    }
    return id_of((*pair)[1]);
  }

  Ids special_ids(const Json& definition, const std::string& name) const {
    const Json* tokens = find_member(definition, "special_tokens");
    const Json* token = tokens != nullptr ? find_member(*tokens, name) : nullptr;
    const Json* ids = token != nullptr ? find_member(*token, "ids") : nullptr;
    if (ids == nullptr || !ids->is_array()) {
      refuse(fmt::format("\"{}\", which special_tokens does not have", name), "its ids");
    }
    Ids result;
    for (const Json& id : *ids) result.push_back(id_of(id));
    return result;
  }

  void read_template(const Json& definition) {
    const Json* single = find_member(definition, "single");
    if (single == nullptr || !single->is_array()) refuse("no \"single\"", "a list");
    Ids before, after;
    int texts = 0;
    for (const Json& piece : *single) {
      if (const Json* token = find_member(piece, "SpecialToken")) {
        const Ids ids = special_ids(definition, text_member(*token, "id"));
        Ids& side = texts == 0 ? before : after;
        side.insert(side.end(), ids.begin(), ids.end());
      } else if (find_member(piece, "Sequence") != nullptr) {
        ++texts;
      }
    }
    if (texts != 1) {
      throw FormatNotSupportedError({.where = source_,
                                     .found = fmt::format("a template with {} texts", texts),
                                     .expected = "one",
                                     .remedy = ""});
    }
    surround(std::move(before), after);
  }

  const std::string& source_;
  SurroundingTokens result_;
};

}  // namespace

SurroundingTokens surrounding_tokens(const Json& definition, const std::string& source) {
  Reader reader(source);
  if (!definition.is_null()) reader.read(definition, 0);
  return reader.take();
}

}  // namespace qwodel
