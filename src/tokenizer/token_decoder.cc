#include "tokenizer/token_decoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "qwodel/error.h"
#include "tokenizer/bpe_model.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/json_members.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

constexpr int kMaxDepth = 16;

using Tokens = std::vector<std::string>;

void apply_step(const ByteLevelDecoding&, Tokens& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) append_alphabet_bytes(token, bytes);
  tokens = {to_valid_utf8(bytes)};
}

// Bytes that form no text become U+FFFD each.
void apply_step(const ByteFallbackDecoding&, Tokens& tokens) {
  Tokens result;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (is_utf8(bytes)) {
      result.push_back(bytes);
    } else {
      result.insert(result.end(), bytes.size(), "\uFFFD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const auto byte = byte_of_token(token, true)) {
      bytes += static_cast<char>(*byte);
    } else {
      flush();
      result.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(result);
}

void apply_step(const FuseDecoding&, Tokens& tokens) {
  std::string text;
  for (const std::string& token : tokens) text += token;
  tokens = {std::move(text)};
}

void apply_step(const MetaspaceDecoding& step, Tokens& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const bool drop = i == 0 && step.drops_first;
    tokens[i] = replace_all(tokens[i], step.replacement, drop ? "" : " ");
  }
}

constexpr std::pair<const char*, const char*> kCleanups[] = {
    {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
    {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
    {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};

std::string cleaned(std::string text) {
  if (text.find(' ') == std::string::npos) return text;
  for (const auto& [from, to] : kCleanups) text = replace_all(text, from, to);
  return text;
}

void apply_step(const WordPieceDecoding& step, Tokens& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) {
      if (tokens[i].starts_with(step.prefix)) {
        tokens[i].erase(0, step.prefix.size());
      } else {
        tokens[i].insert(0, 1, ' ');
      }
    }
    if (step.cleanup) tokens[i] = cleaned(std::move(tokens[i]));
  }
}

void apply_step(const BpeDecoding& step, Tokens& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = replace_all(tokens[i], step.suffix, i + 1 == tokens.size() ? "" : " ");
  }
}

void apply_step(const StripDecoding& step, Tokens& tokens) {
  for (std::string& token : tokens) {
    std::string_view rest = token;
    for (std::size_t i = 0; i < step.start && rest.starts_with(step.content); ++i) {
      rest.remove_prefix(step.content.size());
    }
    for (std::size_t i = 0; i < step.stop && rest.ends_with(step.content); ++i) {
      rest.remove_suffix(step.content.size());
    }
    token = std::string(rest);
  }
}

void apply_step(const CtcDecoding& step, Tokens& tokens) {
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  for (std::string& token : tokens) {
    token = replace_all(token, step.padding, "");
    if (step.cleanup) token = replace_all(cleaned(std::move(token)), step.delimiter, " ");
  }
  std::erase_if(tokens, [](const std::string& token) { return token.empty(); });
}

void apply_step(const ReplaceStep& step, Tokens& tokens) {
  for (std::string& token : tokens) token = apply_replace(step, to_valid_utf8(token));
}

std::size_t count_member(const Json& definition, std::string_view key) {
  const Json* value = find_member(definition, key);
  const bool valid = value != nullptr && value->is_number_integer() && *value >= 0;
  return valid ? value->get<std::size_t>() : 0;
}

std::string text_or(const Json& definition, std::string_view key, const char* fallback) {
  const std::string text = text_member(definition, key);
  return text.empty() ? fallback : text;
}

}  // namespace

TokenDecoder::TokenDecoder(const Json& definition, const std::string& source) {
  if (!definition.is_null()) add(definition, source, 0);
}

void TokenDecoder::add(const Json& definition, const std::string& source, int depth) {
  const std::string type = text_member(definition, "type");
  const Json* parts = find_member(definition, "decoders");
  if (type == "Sequence" && depth < kMaxDepth && parts != nullptr && parts->is_array()) {
    for (const Json& part : *parts) add(part, source, depth + 1);
  } else if (type == "ByteLevel") {
    steps_.push_back(ByteLevelDecoding{});
  } else if (type == "ByteFallback") {
    steps_.push_back(ByteFallbackDecoding{});
  } else if (type == "Fuse") {
    steps_.push_back(FuseDecoding{});
  } else if (type == "Metaspace") {
    const bool drops = text_member(definition, "prepend_scheme") != "never" &&
                       flag_member(definition, "add_prefix_space", true);
    steps_.push_back(MetaspaceDecoding{text_or(definition, "replacement", "\u2581"), drops});
  } else if (type == "WordPiece") {
    steps_.push_back(WordPieceDecoding{text_or(definition, "prefix", "##"),
                                       flag_member(definition, "cleanup", true)});
  } else if (type == "BPEDecoder") {
    steps_.push_back(BpeDecoding{text_or(definition, "suffix", "</w>")});
  } else if (type == "Strip") {
    steps_.push_back(StripDecoding{text_or(definition, "content", " "),
                                   count_member(definition, "start"),
                                   count_member(definition, "stop")});
  } else if (type == "CTC") {
    steps_.push_back(CtcDecoding{text_or(definition, "pad_token", "<pad>"),
                                 text_or(definition, "word_delimiter_token", "|"),
                                 flag_member(definition, "cleanup", true)});
  } else if (type == "Replace") {
    steps_.push_back(make_replace(definition, source));
  } else {
    throw FormatNotSupportedError({.where = source,
                                   .found = fmt::format("the decoder \"{}\"", type),
                                   .expected = "a known one",
                                   .remedy = ""});
  }
}

std::string TokenDecoder::decode(Tokens tokens) const {
  for (const Step& step : steps_) {
    std::visit([&](const auto& kind) { apply_step(kind, tokens); }, step);
  }
  std::string text;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0 && steps_.empty()) text += ' ';
    text += tokens[i];
  }
  return is_utf8(text) ? text : to_valid_utf8(text);
}

}  // namespace qwodel
