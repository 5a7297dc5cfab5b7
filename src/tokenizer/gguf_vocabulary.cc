#include "tokenizer/gguf_vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_map>

#include "qwodel/error.h"
#include "tokenizer/gguf_pre_tokenizers.h"
#include "tokenizer/vocabulary_parts.h"

namespace qwodel {
namespace {

using Kind = GgufVocabulary::Kind;

// What a model name stands for, and the special tokens it has without being told.
struct Model {
  std::string_view name;
  Kind kind;
  std::optional<std::uint32_t> bos, eos, unknown, separator;
  bool add_bos, add_eos, add_space_prefix;
};
constexpr Model kModels[] = {
    {"llama", Kind::spm, 1, 2, 0, {}, true, false, true},
    {"gpt2", Kind::bpe, 11, 11, {}, {}, false, false, false},
    {"gemma4", Kind::bpe, {}, {}, {}, {}, true, false, false},
    {"bert", Kind::wpm, 101, {}, 100, 102, true, false, false},
    {"t5", Kind::ugm, {}, 1, 2, {}, false, true, false},
};

// Tokens that end a text or a turn or take part in filling in, by their text: they are control
// tokens whatever the file says.
constexpr std::string_view kControlTexts[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
    "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]",
    "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
    "<｜end▁of▁sentence｜>", "[e~[",
    // Filling in the middle.
    "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
    "<|code_prefix|>", "<|prefix|>", "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>",
    "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>", "<|suffix|>", "<|fim_middle|>",
    "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>",
    "<|middle|>", "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>",
    "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>"};
// User-defined, so that they are always found and shown.
constexpr std::string_view kShownTexts[] = {"<|channel|>", "<|message|>", "<|start|>",
                                            "<|constrain|>"};

class Reader {
 public:
  Reader(const GgufMetadata& metadata, const std::string& source)
      : metadata_(metadata), source_(source) {}

  GgufVocabulary read() {
    const Model& model = find_model();
    result_.kind = model.kind;
    result_.bos = model.bos;
    result_.eos = model.eos;
    result_.unknown = model.unknown;
    result_.separator = model.separator;
    result_.add_bos = model.add_bos;
    result_.add_eos = model.add_eos;
    result_.add_space_prefix = model.add_space_prefix;
    read_pre(model);
    read_tokens();
    if (result_.kind == Kind::bpe) read_merges();
    read_special_ids();
    read_flags();
    set_control_tokens();
    set_strips();
    return std::move(result_);
  }

 private:
  [[noreturn]] void refuse(std::string found, std::string expected) const {
    throw ValidationError({.where = source_,
                           .found = std::move(found),
                           .expected = std::move(expected),
                           .remedy = ""});
  }

  const Model& find_model() const {
    const auto name = metadata_.find_string("tokenizer.ggml.model");
    if (!name) refuse("no tokenizer.ggml.model", "the vocabulary of the model");
    for (const Model& model : kModels) {
      if (model.name == *name) return model;
    }
    throw FormatNotSupportedError({.where = source_,
                                   .found = fmt::format("tokenizer.ggml.model \"{}\"", *name),
                                   .expected = "llama, gpt2, bert, t5 or gemma4",
                                   .remedy = "tokenize with the model the file was made from"});
  }

  void read_pre(const Model& model) {
    result_.pre = metadata_.find_string("tokenizer.ggml.pre").value_or("default");
    if (result_.pre.empty()) result_.pre = "default";
    if (model.name == "gemma4") result_.pre = "gemma4";
    if (result_.kind != Kind::bpe) return;
    if (gguf_pre_tokenizer(result_.pre).adds_begin) result_.add_bos = true;
    if (result_.pre == "chatglm-bpe" || result_.pre == "glm4" || result_.pre == "glm5") {
      result_.bos.reset();
    }
  }

  // nullptr when there is no such array.
  template <class T>
  const std::vector<T>* array(std::string_view key) const {
    const GgufValue* value = metadata_.find(key);
    if (value == nullptr) return nullptr;
    const auto* any = std::get_if<GgufArray>(value);
    const auto* values = any != nullptr ? std::get_if<std::vector<T>>(any) : nullptr;
    if (values == nullptr) refuse(fmt::format("{} of another type", key), "the type GGUF has");
    return values;
  }

  void read_tokens() {
    const auto* texts = array<std::string>("tokenizer.ggml.tokens");
    if (texts == nullptr || texts->empty()) refuse("no tokenizer.ggml.tokens", "tokens");
    if (texts->size() > kMaxTokens) {
      refuse(fmt::format("{} tokens", texts->size()), fmt::format("at most {}", kMaxTokens));
    }
    const auto* scores = array<float>("tokenizer.ggml.scores");
    const auto* types = array<std::int32_t>("tokenizer.ggml.token_type");
    for (const std::size_t size : {scores != nullptr ? scores->size() : texts->size(),
                                   types != nullptr ? types->size() : texts->size()}) {
      if (size < texts->size()) {
        refuse(fmt::format("{} scores or types", size), fmt::format("{}", texts->size()));
      }
    }
    result_.tokens.resize(texts->size());
    for (std::size_t id = 0; id < texts->size(); ++id) {
      GgufToken& token = result_.tokens[id];
      token.text = (*texts)[id].empty() ? fmt::format("[EMPTY_{}]", id) : (*texts)[id];
      token.score = scores != nullptr ? (*scores)[id] : 0;
      if (std::isnan(token.score)) refuse(fmt::format("score NaN of token {}", id), "a number");
      set_type(types != nullptr ? (*types)[id] : 1, token);
    }
  }

  static void set_type(std::int32_t type, GgufToken& token) {
    token.normal = type == static_cast<std::int32_t>(TokenType::normal);
    token.unknown = type == static_cast<std::int32_t>(TokenType::unknown);
    token.control = type == static_cast<std::int32_t>(TokenType::control);
    token.user_defined = type == static_cast<std::int32_t>(TokenType::user_defined);
    token.unused = type == static_cast<std::int32_t>(TokenType::unused);
    token.byte = type == static_cast<std::int32_t>(TokenType::byte);
  }

  void read_merges() {
    const auto* merges = array<std::string>("tokenizer.ggml.merges");
    if (merges == nullptr) refuse("no tokenizer.ggml.merges", "merges");
    result_.merges.reserve(merges->size());
    for (const std::string& merge : *merges) {
      const std::size_t space = merge.find(' ', 1);
      if (space == std::string::npos) continue;
      result_.merges.push_back({merge.substr(0, space), merge.substr(space + 1)});
    }
  }

  void read_id(std::string_view key, std::optional<std::uint32_t>& id) const {
    if (id && *id >= result_.tokens.size()) id.reset();
    const auto value = metadata_.find_unsigned(key);
    if (value && *value < result_.tokens.size()) id = static_cast<std::uint32_t>(*value);
  }

  void read_special_ids() {
    read_id("tokenizer.ggml.bos_token_id", result_.bos);
    read_id("tokenizer.ggml.eos_token_id", result_.eos);
    read_id("tokenizer.ggml.unknown_token_id", result_.unknown);
    read_id("tokenizer.ggml.seperator_token_id", result_.separator);
  }

  void read_flag(std::string_view key, bool& flag) const {
    const GgufValue* value = metadata_.find(key);
    const auto* boolean = value != nullptr ? std::get_if<GgufBool>(value) : nullptr;
    if (boolean != nullptr) flag = boolean->value;
  }

  void read_flags() {
    read_flag("tokenizer.ggml.add_bos_token", result_.add_bos);
    read_flag("tokenizer.ggml.add_eos_token", result_.add_eos);
    read_flag("tokenizer.ggml.add_space_prefix", result_.add_space_prefix);
    read_flag("tokenizer.ggml.remove_extra_whitespaces", result_.remove_extra_whitespaces);
    // Whatever the file says.
    if (result_.pre == "gemma4" || result_.pre == "granite-embed-multi-311m") {
      result_.add_bos = true;
    }
    read_flag("tokenizer.ggml.normalizer.lowercase", result_.lowercase);
    result_.strip_accents = result_.lowercase;
    read_flag("tokenizer.ggml.normalizer.strip_accents", result_.strip_accents);
    if (const auto* map = find_bytes("tokenizer.ggml.precompiled_charsmap")) {
      result_.charsmap.assign(map->begin(), map->end());
    }
  }

  const std::vector<std::uint8_t>* find_bytes(std::string_view key) const {
    return result_.kind == Kind::ugm ? array<std::uint8_t>(key) : nullptr;
  }

  void set_control_tokens() {
    const auto is_one_of = [](const auto& texts, const std::string& text) {
      return std::find(std::begin(texts), std::end(texts), text) != std::end(texts);
    };
    for (GgufToken& token : result_.tokens) {
      if (is_one_of(kControlTexts, token.text)) token.control = true;
    }
    for (GgufToken& token : result_.tokens) {
      if (!is_one_of(kShownTexts, token.text)) continue;
      set_type(static_cast<std::int32_t>(TokenType::user_defined), token);
    }
    const auto find = [&](std::string_view text) -> GgufToken* {
      for (GgufToken& token : result_.tokens) {
        if (token.text == text) return &token;
      }
      return nullptr;
    };
    // Two families whose "<|end|>" or "</s>" is an ordinary token.
    GgufToken* end = find("<|end|>");
    const bool calls = find("<|call|>") != nullptr || find("<|calls|>") != nullptr;
    if (end != nullptr && calls &&
        (find("<|return|>") != nullptr || find("<|flush|>") != nullptr)) {
      set_type(static_cast<std::int32_t>(TokenType::user_defined), *end);
    }
    GgufToken* mark = find("</s>");
    if (mark != nullptr && find("<|tool_response>") != nullptr) {
      set_type(static_cast<std::int32_t>(TokenType::normal), *mark);
    }
  }

  // Files do not tell which tokens take white space with them; names do.
  void set_strips() {
    std::string name = metadata_.find_string("general.name").value_or("");
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const auto architecture = metadata_.find_string("general.architecture").value_or("");
    const auto has = [](std::string_view text, std::initializer_list<std::string_view> parts) {
      return std::any_of(parts.begin(), parts.end(), [&](std::string_view part) {
        return text.find(part) != std::string_view::npos;
      });
    };
    const bool mask = has(result_.pre, {"jina-v2-de", "jina-v2-es", "jina-v2-code"}) ||
                      has(architecture, {"nomic-bert-moe", "jina-bert-v3"});
    const bool phi3 = !mask && has(name, {"phi-3", "phi3"});
    const bool modern_bert = !mask && !phi3 && has(name, {"modern-bert"});
    for (GgufToken& token : result_.tokens) {
      if (mask && token.text == "<mask>") token.lstrip = true;
      if (modern_bert && token.text == "[MASK]") token.lstrip = true;
      if (!phi3) continue;
      const bool special = token.control || token.user_defined || token.unknown;
      const bool kept =
          token.text == "<unk>" || token.text == "<s>" || token.text == "<|endoftext|>";
      token.rstrip = (special && !kept) || token.text == "</s>";
    }
  }

  const GgufMetadata& metadata_;
  const std::string& source_;
  GgufVocabulary result_;
};

}  // namespace

GgufVocabulary read_gguf_vocabulary(const GgufMetadata& metadata, const std::string& source) {
  return Reader(metadata, source).read();
}

}  // namespace qwodel
