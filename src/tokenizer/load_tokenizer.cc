// Finds the tokenizer of a directory.
#include <fmt/format.h>

#include "io/mapped_file.h"
#include "qwodel/error.h"
#include "tokenizer/class_pipelines.h"
#include "tokenizer/gguf_tokenizer.h"
#include "tokenizer/pipeline_tokenizer.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/tokenizer.h"

namespace qwodel {
namespace {

void use_tiktoken(const std::filesystem::path& path, TokenizerFiles& files) {
  files.tokenizer = read_tiktoken(path);
  if (files.tokenizer->pre_tokenizer.is_null()) {
    throw FormatNotSupportedError({.where = path.string(),
                                   .found = fmt::format("a tiktoken vocabulary of {} tokens",
                                                        files.tokenizer->vocabulary.size()),
                                   .expected = "a published one, whose pre-tokenizer is known",
                                   .remedy = "use the model's tokenizer.json"});
  }
  complete_byte_level(files);
}

// tokenizer.model may be either of two formats.
void use_model_file(const std::filesystem::path& path, TokenizerFiles& files) {
  if (looks_like_tiktoken(MappedFile(path).bytes())) return use_tiktoken(path, files);
  const SentencePieceModel model = read_sentencepiece(path);
  const bool unigram = model.algorithm == SentencePieceModel::Algorithm::unigram;
  if (!unigram && model.algorithm != SentencePieceModel::Algorithm::bpe) {
    throw FormatNotSupportedError({.where = path.string(),
                                   .found = "a SentencePiece model of words or characters",
                                   .expected = "Unigram or BPE",
                                   .remedy = ""});
  }
  use_sentencepiece(model, unigram && path.filename() == "spiece.model", files);
}

// Fills files.tokenizer from the first kind of file that is there and returns its path.
std::filesystem::path find_tokenizer(TokenizerFiles& files) {
  const auto& directory = files.directory;
  if (files.has("tokenizer.json")) {
    files.tokenizer = read_tokenizer_json(directory / "tokenizer.json");
    return directory / "tokenizer.json";
  }
  for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model"}) {
    if (!files.has(name)) continue;
    use_model_file(directory / name, files);
    return directory / name;
  }
  if (files.has("vocab.json") && files.has("merges.txt")) {
    files.tokenizer = read_vocab_and_merges(directory / "vocab.json", directory / "merges.txt");
    complete_byte_level(files);
    return directory / "vocab.json";
  }
  if (files.has("vocab.txt")) {
    files.tokenizer = read_vocab_txt(directory / "vocab.txt");
    complete_wordpiece(files);
    return directory / "vocab.txt";
  }
  throw FormatNotSupportedError(
      {.where = directory.string(),
       .found = "no tokenizer files",
       .expected = "tokenizer.json, tokenizer.model, vocab.json and merges.txt, or vocab.txt",
       .remedy = "copy the tokenizer files of the original model there"});
}

}  // namespace

Tokenizer load_tokenizer(const std::filesystem::path& directory) {
  TokenizerFiles files = read_tokenizer_files(directory);
  const auto path = find_tokenizer(files);
  return Tokenizer(make_pipeline_tokenizer(files, path.string()));
}

Tokenizer load_tokenizer(const GgufMetadata& metadata, const std::string& source) {
  return Tokenizer(make_gguf_tokenizer(read_gguf_vocabulary(metadata, source), source));
}

}  // namespace qwodel
