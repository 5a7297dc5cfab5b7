#include "tokenizer/special_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "qwodel/error.h"

namespace qwodel {
namespace {

struct RoleKey {
  std::string_view role, key;
};
// "seperator" is how the format spells it. The role cls has no key.
constexpr RoleKey kIdKeys[] = {
    {"bos", "tokenizer.ggml.bos_token_id"},     {"eos", "tokenizer.ggml.eos_token_id"},
    {"unk", "tokenizer.ggml.unknown_token_id"}, {"sep", "tokenizer.ggml.seperator_token_id"},
    {"pad", "tokenizer.ggml.padding_token_id"}, {"mask", "tokenizer.ggml.mask_token_id"},
    {"eot", "tokenizer.ggml.eot_token_id"},     {"eom", "tokenizer.ggml.eom_token_id"},
};
constexpr RoleKey kAddKeys[] = {
    {"bos", "tokenizer.ggml.add_bos_token"},
    {"eos", "tokenizer.ggml.add_eos_token"},
    {"sep", "tokenizer.ggml.add_sep_token"},
};

// What Python takes for false: null, false, 0, "", [], {}.
bool truthy(const Json& value) {
  if (value.is_null() || (value.is_boolean() && !value.get<bool>())) return false;
  if (value.is_number()) return value.get<double>() != 0;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return !value.is_structured() || !value.empty();
}

Json member_or_null(const Json& object, std::string_view key) {
  const Json* found = find_member(object, key);
  return found != nullptr ? *found : Json();
}

// The name of the special token of a template's entry, or null.
Json special_of(const Json& entry) {
  return member_or_null(member_or_null(entry, "SpecialToken"), "id");
}
Json sequence_of(const Json& entry) {
  return member_or_null(member_or_null(entry, "Sequence"), "id");
}

// The first of [text, id], or `fallback`.
Json first_of(const Json& processor, std::string_view key, const Json& fallback) {
  const Json* pair = find_member(processor, key);
  return pair != nullptr && pair->is_array() && !pair->empty() ? (*pair)[0] : fallback;
}

class Finder {
 public:
  Finder(const TokenizerFiles& files, std::uint64_t vocab_size)
      : files_(files), config_(files.tokenizer_config), vocab_size_(vocab_size) {}

  SpecialTokens find() {
    if (files_.tokenizer) {
      read_normalizer(files_.tokenizer->normalizer);
      read_post_processor(files_.tokenizer->post_processor);
    }
    if (!config_.empty()) read_tokenizer_config();
    read_model_config();
    return std::move(result_);
  }

 private:
  void read_normalizer(const Json& normalizer) {
    const Json type = member_or_null(normalizer, "type");
    if (type == "Lowercase") result_.lowercase = true;
    if (type == "StripAccents") result_.strip_accents = true;
    if (type == "BertNormalizer") {
      const auto read = [&](std::string_view key, std::optional<bool>& target) {
        const Json* value = find_member(normalizer, key);
        if (value == nullptr) return;
        target.reset();
        if (value->is_boolean()) target = value->get<bool>();
      };
      read("lowercase", result_.lowercase);
      read("strip_accents", result_.strip_accents);
    }
    if (type == "Sequence") {
      const Json steps = member_or_null(normalizer, "normalizers");
      for (const Json& step : steps) read_normalizer(step);
    }
  }

  void read_post_processor(const Json& post_processor) {
    bos_ = member_or_null(config_, "bos_token");
    cls_ = member_or_null(config_, "cls_token");
    eos_ = member_or_null(config_, "eos_token");
    sep_ = member_or_null(config_, "sep_token");
    if (!truthy(bos_) && truthy(cls_)) config_["bos_token"] = bos_ = cls_;
    if (!truthy(eos_) && truthy(sep_)) config_["eos_token"] = eos_ = sep_;
    if (!truthy(post_processor)) return;
    const Json* processors = find_member(post_processor, "processors");
    if (processors == nullptr) return read_processor(post_processor);
    for (const Json& processor : *processors) read_processor(processor);
  }

  void read_processor(const Json& processor) {
    const Json type = member_or_null(processor, "type");
    if (type == "ByteLevel") {
      if (!is_set("bos")) set_add("bos", false);
      if (!is_set("eos")) set_add("eos", false);
    } else if (type == "RobertaProcessing") {
      read_roberta(processor);
    } else if (type == "TemplateProcessing") {
      const Json single = member_or_null(processor, "single");
      first_ = last_ = Json();
      if (single.is_array() && single.size() > 1) read_single_template(single);
      read_pair_template(member_or_null(processor, "pair"));
    }
  }

  void read_roberta(const Json& processor) {
    for (const char* role : {"bos", "eos", "sep"}) set_add(role, true);
    if (config_.empty()) return;
    if (!truthy(cls_)) config_["cls_token"] = cls_ = first_of(processor, "cls", bos_);
    if (!truthy(sep_)) config_["sep_token"] = sep_ = first_of(processor, "sep", eos_);
  }

  // [first] A [last]
  void read_single_template(const Json& single) {
    first_ = special_of(single.front());
    if (truthy(first_)) {
      if (config_.empty()) {
        bos_ = first_;
      } else if (first_ != bos_ && first_ != cls_) {
        if (!truthy(bos_)) config_["bos_token"] = bos_ = first_;
        if (!truthy(cls_)) config_["cls_token"] = cls_ = first_;
      }
      set_add("bos", first_ == bos_ || first_ == cls_);
    }
    last_ = special_of(single.back());
    if (truthy(last_)) {
      if (config_.empty()) {
        eos_ = last_;
      } else if (last_ != eos_) {
        keep_former_end();
        config_["eos_token"] = eos_ = last_;
      }
      set_add("eos", true);
    }
  }

  // The template ends a text with another token than eos_token: that one ends a turn instead.
  void keep_former_end() {
    for (const char* role : {"eot", "eom"}) {
      if (std::find(roles_.begin(), roles_.end(), role) != roles_.end()) continue;
      roles_.emplace_back(role);
      config_[fmt::format("{}_token", role)] = eos_;
      return;
    }
  }

  // [first] A [separator] [end] B [last]
  void read_pair_template(const Json& pair) {
    if (!pair.is_array() || pair.empty()) return;
    std::size_t begin = 0, end = pair.size();
    if (truthy(first_) && special_of(pair.front()) == first_) ++begin;
    if (truthy(last_) && special_of(pair.back()) == last_) --end;
    if (begin + 2 >= end) return;
    if (sequence_of(pair[begin]) != "A" || sequence_of(pair[end - 1]) != "B") return;
    const auto separates = [&](const Json& entry) {
      const Json token = special_of(entry);
      return truthy(token) && (token == sep_ || token == eos_);
    };
    bool add = separates(pair[begin + 1]) && !truthy(last_);
    if (end - begin == 4 && separates(pair[begin + 2])) add = true;
    set_add("sep", add);
    if (add && !truthy(sep_) && !config_.empty()) config_["sep_token"] = eos_;
  }

  void read_tokenizer_config() {
    for (const std::string& role : roles_) {
      const Json add = member_or_null(config_, fmt::format("add_{}_token", role));
      if (add.is_boolean() && !is_set(role)) set_add(role, add.get<bool>());
      const auto text = token_text(member_or_null(config_, role + "_token"));
      if (!text || !files_.tokenizer) continue;
      const auto& tokens = files_.tokenizer->added_tokens;
      const auto token = std::find_if(tokens.begin(), tokens.end(),
                                      [&](const auto& entry) { return entry.text == *text; });
      if (token != tokens.end()) set_id(role, token->id);
    }
  }

  void read_model_config() {
    const Json* text_config = find_member(files_.model_config, "text_config");
    for (const std::string& role : roles_) {
      const std::string key = role + "_token_id";
      Json id = member_or_null(files_.model_config, key);
      if (id.is_null() && text_config != nullptr) id = member_or_null(*text_config, key);
      if (!id.is_number_integer()) continue;
      if (!id.is_number_unsigned()) {
        throw ValidationError({.where = (files_.directory / "config.json").string(),
                               .found = fmt::format("{} {}", key, id.dump()),
                               .expected = "a token id",
                               .remedy = ""});
      }
      set_id(role, id.get<std::uint64_t>());
    }
  }

  bool is_set(std::string_view role) const {
    return std::any_of(result_.add.begin(), result_.add.end(),
                       [&](const auto& entry) { return entry.first == role; });
  }
  void set_add(std::string_view role, bool value) {
    for (auto& [name, flag] : result_.add) {
      if (name == role) {
        flag = value;
        return;
      }
    }
    result_.add.emplace_back(role, value);
  }
  void set_id(const std::string& role, std::uint64_t id) {
    if (id >= vocab_size_) return;
    for (const auto& entry : result_.ids) {
      if (entry.first == role) return;
    }
    result_.ids.emplace_back(role, static_cast<std::uint32_t>(id));
  }

  const TokenizerFiles& files_;
  Json config_;  // tokenizer_config.json with what the post-processor tells
  std::uint64_t vocab_size_;
  std::vector<std::string> roles_ = {"bos", "eos", "unk", "sep", "pad", "cls", "mask"};
  Json bos_, cls_, eos_, sep_, first_, last_;
  SpecialTokens result_;
};

}  // namespace

SpecialTokens find_special_tokens(const TokenizerFiles& files, std::uint64_t vocab_size) {
  return Finder(files, vocab_size).find();
}

void add_special_token_ids(const SpecialTokens& special, GgufMetadata& metadata) {
  const auto key_of = [](const auto& keys, std::string_view role) -> std::string_view {
    for (const auto& [name, key] : keys) {
      if (name == role) return key;
    }
    return {};
  };
  for (const auto& [role, id] : special.ids) {
    const std::string_view key = key_of(kIdKeys, role);
    if (!key.empty()) metadata.set_u32(key, id);
  }
  for (const auto& [role, add] : special.add) {
    const std::string_view key = key_of(kAddKeys, role);
    if (!key.empty()) metadata.set_bool(key, add);
  }
}

void add_normalizer_flags(const SpecialTokens& special, GgufMetadata& metadata) {
  if (special.lowercase) {
    metadata.set_bool("tokenizer.ggml.normalizer.lowercase", *special.lowercase);
  }
  if (special.strip_accents) {
    metadata.set_bool("tokenizer.ggml.normalizer.strip_accents", *special.strip_accents);
  }
}

}  // namespace qwodel
