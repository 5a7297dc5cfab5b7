#include "tokenizer/pipeline_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "qwodel/error.h"
#include "tokenizer/added_token_search.h"
#include "tokenizer/bpe_model.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/token_decoder.h"
#include "tokenizer/unigram_model.h"
#include "tokenizer/utf8.h"
#include "tokenizer/wordpiece_model.h"

namespace qwodel {
namespace {

using Wanted = std::vector<AddedTokenSearch::Wanted>;

// What is looked for, and shown when decoding.
std::string text_of(const AddedToken& token, const Normalizer& normalizer) {
  const bool as_it_is = !token.normalized || token.text_is_normalized;
  return as_it_is ? token.text : normalizer.normalize(token.text);
}

// The texts of added tokens that are looked for before or behind the normalizer.
Wanted wanted_tokens(const TokenizerJson& tokenizer, const Normalizer& normalizer,
                     bool normalized) {
  Wanted wanted;
  for (const AddedToken& token : tokenizer.added_tokens) {
    if (token.normalized != normalized) continue;
    wanted.push_back({token, text_of(token, normalizer)});
  }
  return wanted;
}

bool cuts_at_spaces(const TokenizerJson& tokenizer, bool byte_level) {
  if (tokenizer.kind != TokenModel::bpe || byte_level || tokenizer.ignore_merges ||
      !tokenizer.continuing_subword_prefix.empty() || !tokenizer.end_of_word_suffix.empty()) {
    return false;
  }
  std::vector<std::string_view> texts;
  texts.reserve(tokenizer.vocabulary.size());
  for (const auto& entry : tokenizer.vocabulary) texts.push_back(entry.text);
  return spaces_begin_tokens(texts);
}

std::unique_ptr<const SubwordModel> make_model(const TokenizerJson& tokenizer, bool byte_level,
                                               const std::string& source) {
  switch (tokenizer.kind) {
    case TokenModel::bpe:
      return std::make_unique<BpeModel>(tokenizer.merge_order == MergeOrder::list
                                            ? bpe_parts_of(tokenizer, byte_level, source)
                                            : cut_parts_of(tokenizer, byte_level, source));
    case TokenModel::unigram:
      return std::make_unique<UnigramModel>(unigram_parts_of(tokenizer, source));
    case TokenModel::wordpiece:
      return std::make_unique<WordPieceModel>(tokenizer, source);
    case TokenModel::wordlevel:
      return std::make_unique<WordLevelModel>(tokenizer, source);
  }
  return nullptr;
}

class Pipeline final : public Tokenizer::State {
 public:
  Pipeline(const TokenizerFiles& files, const std::string& source)
      : tokenizer_(*files.tokenizer),
        normalizer_(tokenizer_.normalizer, source),
        pre_tokenizer_(tokenizer_.pre_tokenizer, source),
        raw_tokens_(wanted_tokens(tokenizer_, normalizer_, false), source),
        normalized_tokens_(wanted_tokens(tokenizer_, normalizer_, true), source),
        // Byte-level BPE runs on bytes; other models see the byte alphabet.
        bytes_(pre_tokenizer_.has_byte_level() && tokenizer_.kind == TokenModel::bpe &&
               tokenizer_.continuing_subword_prefix.empty() &&
               tokenizer_.end_of_word_suffix.empty() && !tokenizer_.byte_fallback),
        cuts_at_spaces_(cuts_at_spaces(tokenizer_, bytes_)),
        model_(make_model(tokenizer_, bytes_, source)),
        surroundings_(surrounding_tokens(tokenizer_.post_processor, source)),
        decoder_(tokenizer_.decoder, source) {
    vocab_size = tokenizer_.id_end();
    set_texts();
    set_special_ids(files, source);
    tokenizer_ = {};
  }

  std::vector<std::uint32_t> encode(std::string_view text,
                                    const EncodeOptions& options) const override {
    return is_utf8(text) ? encode_text(text, options) : encode_text(to_valid_utf8(text), options);
  }

  std::string decode(std::span<const std::uint32_t> ids, bool skip_special) const override {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    for (const std::uint32_t id : ids) {
      if (!has_text_[id] || (skip_special && is_special_[id])) continue;
      tokens.push_back(texts_[id]);
    }
    return decoder_.decode(std::move(tokens));
  }

 private:
  std::vector<std::uint32_t> encode_text(std::string_view text,
                                         const EncodeOptions& options) const {
    std::vector<std::uint32_t> ids;
    ids.reserve(text.size() / 3 + 8);
    if (options.add_special) ids = surroundings_.before;
    auto lease = pool_.take();
    WordEncoder encoder(*model_, cuts_at_spaces_, *lease);
    for (const auto& part : raw_tokens_.split(text, options.parse_special)) {
      if (part.id != kNoToken) {
        ids.push_back(part.id);
        continue;
      }
      const std::string_view piece =
          text.substr(part.range.begin, part.range.end - part.range.begin);
      const bool start = part.range.begin == 0;
      if (normalizer_.empty()) {
        add_normalized(piece, start, options, encoder, ids);
      } else {
        add_normalized(normalizer_.normalize(piece), start, options, encoder, ids);
      }
    }
    if (options.add_special) {
      ids.insert(ids.end(), surroundings_.after.begin(), surroundings_.after.end());
    }
    return ids;
  }

  void add_normalized(std::string_view text, bool start, const EncodeOptions& options,
                      WordEncoder& encoder, std::vector<std::uint32_t>& ids) const {
    if (normalized_tokens_.empty()) return add_text(text, start, encoder, ids);
    for (const auto& part : normalized_tokens_.split(text, options.parse_special)) {
      if (part.id != kNoToken) {
        ids.push_back(part.id);
      } else {
        add_text(text.substr(part.range.begin, part.range.end - part.range.begin),
                 start && part.range.begin == 0, encoder, ids);
      }
    }
  }

  void add_text(std::string_view text, bool start, WordEncoder& encoder,
                std::vector<std::uint32_t>& ids) const {
    SplitText split(text);
    split.is_start = start;
    pre_tokenizer_.split(split);
    const bool to_alphabet = pre_tokenizer_.has_byte_level() && !bytes_;
    for (const TextRange& range : split.words) {
      if (to_alphabet) {
        encoder.add(to_byte_alphabet(split.word(range)), ids);
      } else {
        encoder.add(split.word(range), ids);
      }
    }
  }

  // What decoding shows: an added token that the normalizer changes is shown changed.
  void set_texts() {
    texts_.resize(vocab_size);
    has_text_.resize(vocab_size);
    is_special_.resize(vocab_size);
    const auto set = [&](std::uint32_t id, std::string text) {
      texts_[id] = std::move(text);
      has_text_[id] = true;
    };
    for (auto& entry : tokenizer_.vocabulary) set(entry.id, entry.text);
    std::unordered_set<std::string> special;
    for (const AddedToken& token : tokenizer_.added_tokens) {
      if (token.text.empty()) continue;
      set(token.id, text_of(token, normalizer_));
      if (token.special) special.insert(token.text);
    }
    for (std::uint64_t id = 0; id < vocab_size; ++id) {
      is_special_[id] = has_text_[id] && special.contains(texts_[id]);
    }
  }

  void set_special_ids(const TokenizerFiles& files, const std::string& source) {
    for (const auto* side : {&surroundings_.before, &surroundings_.after}) {
      for (const std::uint32_t id : *side) {
        if (id < vocab_size) continue;
        throw ValidationError({.where = source,
                               .found = fmt::format("id {} in post_processor", id),
                               .expected = fmt::format("ids below {}", vocab_size),
                               .remedy = ""});
      }
    }
    for (const auto& [role, id] : find_special_tokens(files, vocab_size).ids) {
      if (role == "bos") bos = id;
      if (role == "eos") eos = id;
    }
    if (!bos && !surroundings_.before.empty()) bos = surroundings_.before.front();
    if (!eos && !surroundings_.after.empty()) eos = surroundings_.after.back();
    adds_bos = !surroundings_.before.empty() && surroundings_.before.front() == bos;
  }

  TokenizerJson tokenizer_;  // until everything is made of it
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  AddedTokenSearch raw_tokens_, normalized_tokens_;
  bool bytes_, cuts_at_spaces_;
  std::unique_ptr<const SubwordModel> model_;
  SurroundingTokens surroundings_;
  TokenDecoder decoder_;
  std::vector<std::string> texts_;
  std::vector<bool> has_text_, is_special_;
  mutable ScratchPool pool_;
};

}  // namespace

std::unique_ptr<Tokenizer::State> make_pipeline_tokenizer(const TokenizerFiles& files,
                                                          const std::string& source) {
  return std::make_unique<Pipeline>(files, source);
}

}  // namespace qwodel
