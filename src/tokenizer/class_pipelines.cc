#include "tokenizer/class_pipelines.h"

#include <algorithm>
#include <initializer_list>

#include "tokenizer/json_members.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/vocabulary_parts.h"

namespace qwodel {
namespace {

constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The class in tokenizer_config.json, else the model's type; without "Fast".
std::string class_of(const TokenizerFiles& files) {
  std::string name = text_member(files.tokenizer_config, "tokenizer_class");
  if (name.empty()) name = text_member(files.model_config, "model_type");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  return name;
}

bool is_qwen2(const TokenizerFiles& files) {
  const std::string name = class_of(files);
  return name.starts_with("Qwen2") || name.starts_with("qwen2") || name.starts_with("qwen3");
}

// A template with tokens before and behind the text; absent ones are left out.
Json surrounding_template(std::optional<std::uint32_t> before, std::optional<std::uint32_t> after) {
  Json single = Json::array(), tokens = Json::object();
  const auto add = [&](const char* name, std::optional<std::uint32_t> id) {
    if (!id) return;
    single.push_back({{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
    tokens[name] = {{"id", name}, {"ids", {*id}}};
  };
  add("before", before);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add("after", after);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", tokens}};
}

std::optional<std::uint32_t> id_of(const TokenizerJson& tokenizer, std::string_view text) {
  for (const AddedToken& token : tokenizer.added_tokens) {
    if (token.text == text) return token.id;
  }
  for (const auto& entry : tokenizer.vocabulary) {
    if (entry.text == text) return entry.id;
  }
  return std::nullopt;
}

// The token of a role in tokenizer_config.json, or the class's own.
std::optional<std::uint32_t> role_id(const TokenizerFiles& files, const char* role,
                                     const char* fallback) {
  const Json* entry = find_member(files.tokenizer_config, role);
  const auto text = entry != nullptr ? token_text(*entry) : std::nullopt;
  return id_of(*files.tokenizer, text.value_or(fallback));
}

// A vocabulary's id belongs to the text it has there, whatever added_tokens.json says.
std::vector<AddedToken> added_tokens_for(const TokenizerFiles& files) {
  std::vector<AddedToken> tokens = added_tokens_of(files);
  const auto& vocabulary = files.tokenizer->vocabulary;
  std::erase_if(tokens, [&](const AddedToken& token) {
    const auto entry = std::lower_bound(
        vocabulary.begin(), vocabulary.end(), token.id,
        [](const VocabularyEntry& known, std::uint32_t id) { return known.id < id; });
    return entry != vocabulary.end() && entry->id == token.id && entry->text != token.text;
  });
  return tokens;
}

// Makes tokens of the vocabulary special that their class knows without being told.
void add_special(TokenizerJson& tokenizer, std::initializer_list<const char*> texts) {
  for (const char* text : texts) {
    const auto id = id_of(tokenizer, text);
    const bool known = std::any_of(tokenizer.added_tokens.begin(), tokenizer.added_tokens.end(),
                                   [&](const AddedToken& token) { return token.text == text; });
    if (id && !known) tokenizer.added_tokens.push_back({text, *id, true, false});
  }
}

void add_pieces(const SentencePieceModel& model, TokenizerJson& tokenizer) {
  for (std::uint32_t id = 0; id < model.pieces.size(); ++id) {
    const auto& piece = model.pieces[id];
    tokenizer.vocabulary.push_back({piece.text, id, static_cast<double>(piece.score)});
    AddedToken added;
    added.text = piece.text;
    added.id = id;
    added.special = piece.type == PieceType::control || piece.type == PieceType::unknown;
    if (piece.type == PieceType::user_defined) {
      // It is found in the normalized text, and what follows it goes on.
      added.normalized = added.text_is_normalized = true;
    } else if (!added.special) {
      continue;
    }
    tokenizer.added_tokens.push_back(std::move(added));
  }
}

Json replace_step(const char* kind, const char* pattern, const char* content) {
  return {{"type", "Replace"}, {"pattern", {{kind, pattern}}}, {"content", content}};
}

Json sentencepiece_normalizer(const SentencePieceModel& model) {
  Json steps = Json::array();
  if (!model.precompiled_charsmap.empty()) {
    steps.push_back({{"type", "Precompiled"},
                     {"precompiled_charsmap", encode_base64(model.precompiled_charsmap)}});
  }
  if (model.remove_extra_whitespaces) {
    steps.push_back(replace_step("Regex", R"(\A +| +\z)", ""));
    steps.push_back(replace_step("Regex", " {2,}", " "));
  }
  if (model.add_dummy_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", "\u2581"}});
  steps.push_back(replace_step("String", " ", "\u2581"));
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

Json sentencepiece_decoder(const SentencePieceModel& model) {
  Json steps = {
      replace_step("String", "\u2581", " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  if (model.add_dummy_prefix) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", steps}};
}

}  // namespace

Json class_pre_tokenizer(const TokenizerFiles& files) {
  if (!is_qwen2(files)) {
    return {{"type", "ByteLevel"},
            {"add_prefix_space", flag_member(files.tokenizer_config, "add_prefix_space", false)}};
  }
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"}, {"pattern", {{"Regex", kQwen2Pattern}}}, {"behavior", "Isolated"}},
            {{"type", "ByteLevel"}, {"use_regex", false}}}}};
}

void complete_byte_level(TokenizerFiles& files) {
  TokenizerJson& tokenizer = *files.tokenizer;
  tokenizer.added_tokens = added_tokens_for(files);
  if (tokenizer.pre_tokenizer.is_null()) tokenizer.pre_tokenizer = class_pre_tokenizer(files);
  if (class_of(files).empty()) add_special(tokenizer, {"<|endoftext|>"});  // GPT-2's
  if (is_qwen2(files)) tokenizer.normalizer = {{"type", "NFC"}};
  tokenizer.decoder = {{"type", "ByteLevel"}};
  const std::string name = class_of(files);
  if (name == "RobertaTokenizer" || name == "roberta") {
    tokenizer.post_processor = surrounding_template(role_id(files, "cls_token", "<s>"),
                                                    role_id(files, "sep_token", "</s>"));
    return;
  }
  const bool begin = flag_member(files.tokenizer_config, "add_bos_token", false);
  const bool end = flag_member(files.tokenizer_config, "add_eos_token", false);
  tokenizer.post_processor =
      surrounding_template(begin ? role_id(files, "bos_token", "<|endoftext|>") : std::nullopt,
                           end ? role_id(files, "eos_token", "<|endoftext|>") : std::nullopt);
}

void complete_wordpiece(TokenizerFiles& files) {
  TokenizerJson& tokenizer = *files.tokenizer;
  tokenizer.added_tokens = added_tokens_for(files);
  add_special(tokenizer, {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"});
  const Json& config = files.tokenizer_config;
  tokenizer.normalizer = {
      {"type", "BertNormalizer"},
      {"lowercase", flag_member(config, "do_lower_case", true)},
      {"handle_chinese_chars", flag_member(config, "tokenize_chinese_chars", true)}};
  if (const Json* strip = find_member(config, "strip_accents"); strip && strip->is_boolean()) {
    tokenizer.normalizer["strip_accents"] = *strip;
  }
  tokenizer.pre_tokenizer = {{"type", "BertPreTokenizer"}};
  tokenizer.decoder = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  tokenizer.post_processor = surrounding_template(role_id(files, "cls_token", "[CLS]"),
                                                  role_id(files, "sep_token", "[SEP]"));
}

void use_sentencepiece(const SentencePieceModel& model, bool ends_texts, TokenizerFiles& files) {
  TokenizerJson tokenizer;
  const bool unigram = model.algorithm == SentencePieceModel::Algorithm::unigram;
  tokenizer.kind = unigram ? TokenModel::unigram : TokenModel::bpe;
  tokenizer.merge_order = MergeOrder::scores;
  tokenizer.byte_fallback = model.byte_fallback;
  tokenizer.fuse_unknown = true;
  tokenizer.unknown_id = model.unknown_id;
  if (model.unknown_id) tokenizer.unknown_token = model.pieces[*model.unknown_id].text;
  add_pieces(model, tokenizer);
  files.tokenizer = std::move(tokenizer);
  files.tokenizer->added_tokens = added_tokens_for(files);
  files.tokenizer->normalizer = sentencepiece_normalizer(model);
  files.tokenizer->decoder = sentencepiece_decoder(model);
  const Json& config = files.tokenizer_config;
  files.tokenizer->post_processor = surrounding_template(
      flag_member(config, "add_bos_token", !ends_texts) ? model.begin_id : std::nullopt,
      flag_member(config, "add_eos_token", ends_texts) ? model.end_id : std::nullopt);
  if (model.begin_id) files.model_config.emplace("bos_token_id", *model.begin_id);
  if (model.end_id) files.model_config.emplace("eos_token_id", *model.end_id);
}

}  // namespace qwodel
