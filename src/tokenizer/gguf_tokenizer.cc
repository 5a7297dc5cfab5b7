#include "tokenizer/gguf_tokenizer.h"

#include "tokenizer/bpe_model.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/gguf_models.h"
#include "tokenizer/gguf_pre_tokenizers.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/special_token_search.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

using Kind = GgufVocabulary::Kind;

constexpr const char* kSpace = "\u2581";

// Each byte that is part of no character becomes U+FFFD.
std::string with_replacements(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const CodePoint point = first_code_point(bytes);
    if (point.size == 0) append_utf8(text, 0xFFFD);
    text += bytes.substr(0, point.size);
    bytes.remove_prefix(std::max<std::size_t>(point.size, 1));
  }
  return text;
}

PreTokenizer pre_tokenizer_of(const GgufPreTokenizer& pre, const std::string& source) {
  std::vector<PreTokenizer::Step> steps;
  for (const std::string_view pattern : pre.patterns) {
    steps.push_back(SplitStep{Regex(std::string(pattern), source), SplitBehavior::isolated, false});
  }
  return PreTokenizer(std::move(steps));
}

std::vector<std::string_view> views_of(const std::vector<GgufToken>& tokens) {
  std::vector<std::string_view> views;
  views.reserve(tokens.size());
  for (const GgufToken& token : tokens) views.push_back(token.text);
  return views;
}

ByteTrie user_defined_of(const std::vector<GgufToken>& tokens) {
  std::vector<ByteTrie::Entry> entries;
  for (std::uint32_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].user_defined) entries.push_back({tokens[id].text, id});
  }
  return ByteTrie(std::move(entries));
}

std::unique_ptr<const SubwordModel> make_model(const GgufVocabulary& vocabulary,
                                               const std::string& source) {
  switch (vocabulary.kind) {
    case Kind::spm:
      return make_spm_model(vocabulary, source);
    case Kind::bpe:
      return make_merges_model(vocabulary, source);
    case Kind::wpm:
      return make_wpm_model(vocabulary, source);
    case Kind::ugm:
      return make_ugm_model(vocabulary, source);
  }
  return nullptr;
}

class GgufTokenizer final : public Tokenizer::State {
 public:
  GgufTokenizer(GgufVocabulary vocabulary, const std::string& source)
      : vocabulary_(std::move(vocabulary)),
        special_(vocabulary_.tokens, source),
        pre_(vocabulary_.kind == Kind::bpe ? gguf_pre_tokenizer(vocabulary_.pre)
                                           : GgufPreTokenizer{.cleans_spaces = false}),
        pre_tokenizer_(pre_tokenizer_of(pre_, source)),
        charsmap_(vocabulary_.charsmap, source),
        user_defined_(user_defined_of(vocabulary_.tokens)),
        model_(make_model(vocabulary_, source)),
        writes_spaces_(vocabulary_.kind == Kind::spm || pre_.writes_spaces),
        cuts_at_spaces_(writes_spaces_ && spaces_begin_tokens(views_of(vocabulary_.tokens))) {
    if (vocabulary_.kind == Kind::wpm) pre_.cleans_spaces = true;
    vocab_size = vocabulary_.tokens.size();
    bos = vocabulary_.bos;
    eos = vocabulary_.eos;
    adds_bos = bos.has_value() && (vocabulary_.add_bos || vocabulary_.kind == Kind::wpm);
  }

  std::vector<std::uint32_t> encode(std::string_view text,
                                    const EncodeOptions& options) const override {
    // Bytes of no character have tokens only in a "llama" vocabulary.
    if (vocabulary_.kind == Kind::spm || is_utf8(text)) return encode_text(text, options);
    return encode_text(with_replacements(text), options);
  }

  std::string decode(std::span<const std::uint32_t> ids, bool skip_special) const override {
    bool drop_space = vocabulary_.add_space_prefix;
    if (skip_special && vocabulary_.add_bos && !ids.empty() && ids.front() == bos) {
      ids = ids.subspan(1);
      drop_space = false;
    }
    if (skip_special && vocabulary_.add_eos && !ids.empty() && ids.back() == eos) {
      ids = ids.first(ids.size() - 1);
    }
    std::string text;
    for (const std::uint32_t id : ids) {
      std::string piece = piece_of(vocabulary_.tokens[id], skip_special);
      if (drop_space && piece.starts_with(' ')) piece.erase(0, 1);
      drop_space = false;
      text += piece;
    }
    if (pre_.cleans_spaces) text = without_tokenization_spaces(std::move(text));
    return to_valid_utf8(text);
  }

 private:
  std::vector<std::uint32_t> encode_text(std::string_view text,
                                         const EncodeOptions& options) const {
    std::vector<std::uint32_t> ids;
    ids.reserve(text.size() / 3 + 8);
    if (options.add_special && adds_bos) ids.push_back(*bos);
    auto lease = pool_.take();
    WordEncoder encoder(*model_, cuts_at_spaces_, *lease);
    bool behind_special = true;
    for (const auto& part : special_.split(text, options.parse_special)) {
      if (part.id != kNoToken) {
        ids.push_back(part.id);
      } else {
        add_text(text.substr(part.range.begin, part.range.end - part.range.begin), behind_special,
                 encoder, ids);
      }
      behind_special = part.id != kNoToken;
    }
    if (!options.add_special) return ids;
    if (vocabulary_.kind == Kind::wpm) {
      if (vocabulary_.separator) ids.push_back(*vocabulary_.separator);
    } else if (vocabulary_.add_eos && eos) {
      ids.push_back(*eos);
    }
    return ids;
  }

  void add_text(std::string_view text, bool behind_special, WordEncoder& encoder,
                std::vector<std::uint32_t>& ids) const {
    if (vocabulary_.kind == Kind::ugm) {
      encoder.add(normalize_ugm(text, vocabulary_, charsmap_, user_defined_), ids);
    } else if (vocabulary_.kind == Kind::wpm) {
      for (const std::string& word : split_wpm(text, vocabulary_)) encoder.add(word, ids);
    } else if (writes_spaces_) {
      const bool prefix =
          vocabulary_.kind == Kind::spm && vocabulary_.add_space_prefix && behind_special;
      add_words((prefix ? kSpace : "") + replace_all(text, " ", kSpace), encoder, ids);
    } else {
      add_words(text, encoder, ids);
    }
  }

  void add_words(std::string_view text, WordEncoder& encoder,
                 std::vector<std::uint32_t>& ids) const {
    SplitText split(text);
    pre_tokenizer_.split(split);
    for (const TextRange& range : split.words) encoder.add(split.word(range), ids);
  }

  std::string piece_of(const GgufToken& token, bool skip_special) const {
    if (token.control || token.unknown) return skip_special ? std::string() : token.text;
    if (token.user_defined) return token.text;
    if (token.normal) {
      if (vocabulary_.kind != Kind::bpe || pre_.writes_spaces) {
        return replace_all(token.text, kSpace, " ");
      }
      std::string bytes;
      append_alphabet_bytes(token.text, bytes);
      return bytes;
    }
    const auto byte = token.byte ? byte_of_token(token.text, true) : std::nullopt;
    return byte ? std::string(1, static_cast<char>(*byte)) : std::string();
  }

  GgufVocabulary vocabulary_;
  SpecialTokenSearch special_;
  GgufPreTokenizer pre_;
  PreTokenizer pre_tokenizer_;
  Charsmap charsmap_;
  ByteTrie user_defined_;
  std::unique_ptr<const SubwordModel> model_;
  bool writes_spaces_, cuts_at_spaces_;
  mutable ScratchPool pool_;
};

}  // namespace

std::unique_ptr<Tokenizer::State> make_gguf_tokenizer(GgufVocabulary vocabulary,
                                                      const std::string& source) {
  return std::make_unique<GgufTokenizer>(std::move(vocabulary), source);
}

}  // namespace qwodel
