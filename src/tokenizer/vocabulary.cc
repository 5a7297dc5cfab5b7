#include "tokenizer/vocabulary.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "io/mapped_file.h"
#include "qwodel/error.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/class_pipelines.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/vocabulary_parts.h"

namespace qwodel {
namespace {

constexpr const char* kTokenizerFiles[] = {
    "tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
    "vocab.json",     "merges.txt",      "vocab.txt",    "tekken.json"};

std::string name_of(VocabularyKind kind) {
  switch (kind) {
    case VocabularyKind::sentencepiece:
      return "a SentencePiece tokenizer.model";
    case VocabularyKind::byte_fallback_bpe:
      return "a tokenizer.json with byte-fallback BPE";
    case VocabularyKind::byte_level_bpe:
      return "byte-level BPE (tokenizer.json, or vocab.json "
             "and merges.txt, or tiktoken)";
    case VocabularyKind::wordpiece:
      return "WordPiece (tokenizer.json or vocab.txt)";
    case VocabularyKind::unigram:
      return "Unigram (tokenizer.json, tokenizer.model or spiece.model)";
  }
  return {};
}

// Opens what a directory holds and writes the first kind that is there.
class Search {
 public:
  Search(const VocabularyRequest& request, GgufMetadata& metadata)
      : context_{request, read_tokenizer_files(request.directory)}, metadata_(metadata) {}

  VocabularyKind run() {
    for (const VocabularyKind kind : context_.request.kinds) {
      if (add(kind)) return kind;
    }
    std::vector<std::string> found, wanted;
    for (const char* file : kTokenizerFiles) {
      if (context_.files.has(file)) found.emplace_back(file);
    }
    for (const VocabularyKind kind : context_.request.kinds) wanted.push_back(name_of(kind));
    throw FormatNotSupportedError(
        {.where = context_.files.directory.string(),
         .found = found.empty() ? "no tokenizer files"
                                : fmt::format("{} of another kind", fmt::join(found, ", ")),
         .expected = fmt::format("{}", fmt::join(wanted, ", or ")),
         .remedy = "copy the tokenizer files of the original model there"});
  }

 private:
  bool add(VocabularyKind kind) {
    switch (kind) {
      case VocabularyKind::sentencepiece:
        return add_sentencepiece();
      case VocabularyKind::byte_fallback_bpe:
        return add_byte_fallback();
      case VocabularyKind::byte_level_bpe:
        return add_byte_level();
      case VocabularyKind::wordpiece:
        return add_wordpiece();
      case VocabularyKind::unigram:
        return add_unigram();
    }
    return false;
  }

  std::filesystem::path path(const char* name) const { return context_.files.directory / name; }

  // The whole of tokenizer.json if its model is of this kind.
  bool open_tokenizer(TokenModel kind) {
    if (!context_.files.has("tokenizer.json")) return false;
    if (!tokenizer_) tokenizer_ = read_tokenizer_json(path("tokenizer.json"));
    return tokenizer_->kind == kind;
  }

  void use_surroundings() {
    if (tokenizer_) {
      context_.files.tokenizer = std::move(*tokenizer_);
    } else if (context_.files.has("tokenizer.json")) {
      context_.files.tokenizer = read_tokenizer_surroundings(path("tokenizer.json"));
    }
  }

  // The bytes of tokenizer.model decide: Meta's tiktoken files have the same name.
  bool is_tiktoken(const char* name) const {
    return context_.files.has(name) && looks_like_tiktoken(MappedFile(path(name)).bytes());
  }

  bool add_sentencepiece() {
    if (!context_.files.has("tokenizer.model") || is_tiktoken("tokenizer.model")) return false;
    const SentencePieceModel model = read_sentencepiece(path("tokenizer.model"));
    use_surroundings();
    add_sentencepiece_vocabulary(context_, model, metadata_);
    return true;
  }

  bool add_byte_fallback() {
    if (!open_tokenizer(TokenModel::bpe) || !tokenizer_->byte_fallback) return false;
    context_.files.tokenizer = std::move(*tokenizer_);
    add_byte_fallback_vocabulary(context_, metadata_);
    return true;
  }

  static bool has_byte_level(const TokenizerJson& tokenizer) {
    for (const Json* part : {&tokenizer.pre_tokenizer, &tokenizer.normalizer, &tokenizer.decoder}) {
      if (part->dump(-1, ' ', false, Json::error_handler_t::replace).find("\"ByteLevel\"") !=
          std::string::npos) {
        return true;
      }
    }
    return false;
  }

  bool add_byte_level() {
    if (open_tokenizer(TokenModel::bpe)) {
      if (tokenizer_->byte_fallback || !has_byte_level(*tokenizer_)) return false;
      context_.files.tokenizer = std::move(*tokenizer_);
    } else if (tokenizer_) {
      return false;
    } else if (context_.files.has("vocab.json") && context_.files.has("merges.txt")) {
      context_.files.tokenizer = read_vocab_and_merges(path("vocab.json"), path("merges.txt"));
      context_.files.tokenizer->pre_tokenizer = class_pre_tokenizer(context_.files);
    } else if (is_tiktoken("tokenizer.model")) {
      context_.files.tokenizer = read_tiktoken(path("tokenizer.model"));
      require_known_tiktoken();
    } else {
      return false;
    }
    add_byte_level_vocabulary(context_, metadata_);
    return true;
  }

  void require_known_tiktoken() const {
    const TokenizerJson& tokenizer = *context_.files.tokenizer;
    if (!tokenizer.pre_tokenizer.is_null() || !context_.request.pre.empty()) return;
    throw ValidationError(
        {.where = path("tokenizer.model").string(),
         .found = fmt::format("a tiktoken vocabulary of {} tokens", tokenizer.vocabulary.size()),
         .expected = "a published one, whose pre-tokenizer is known",
         .remedy = "choose the pre-tokenizer with --tokenizer-pre NAME"});
  }

  bool add_wordpiece() {
    if (open_tokenizer(TokenModel::wordpiece)) {
      context_.files.tokenizer = std::move(*tokenizer_);
      add_wordpiece_vocabulary(context_, metadata_);
      return true;
    }
    if (tokenizer_ || !context_.files.has("vocab.txt")) return false;
    context_.files.tokenizer = read_vocab_txt(path("vocab.txt"));
    add_wordpiece_vocabulary(context_, metadata_);
    return true;
  }

  bool add_unigram() {
    for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model"}) {
      if (!context_.files.has(name) || is_tiktoken(name)) continue;
      const SentencePieceModel model = read_sentencepiece(path(name));
      if (model.algorithm != SentencePieceModel::Algorithm::unigram) continue;
      use_surroundings();
      add_unigram_vocabulary(context_, model, metadata_);
      return true;
    }
    if (!open_tokenizer(TokenModel::unigram)) return false;
    context_.files.tokenizer = std::move(*tokenizer_);
    add_unigram_vocabulary(context_, metadata_);
    return true;
  }

  VocabularyContext context_;
  GgufMetadata& metadata_;
  std::optional<TokenizerJson> tokenizer_;
};

}  // namespace

VocabularyKind add_vocabulary(const VocabularyRequest& request, GgufMetadata& metadata) {
  return Search(request, metadata).run();
}

}  // namespace qwodel
