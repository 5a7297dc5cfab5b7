// Text to token ids and back.
//
//   const Tokenizer tokenizer = load_tokenizer("SmolLM2-135M");
//   const auto ids = tokenizer.encode("Hello world");
//   const std::string text = tokenizer.decode(ids);
//
// A tokenizer of a Hugging Face directory gives the ids of the Hugging Face tokenizers library
// (0.22); one made from the vocabulary inside a GGUF gives those of llama.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf_value.h"

namespace qwodel {

struct EncodeOptions {
  bool add_special = true;     // begin and end tokens as the tokenizer puts them around a text
  bool parse_special = false;  // "</s>" in the text is the token, not five characters
};

// Immutable: all methods may be called from several threads at once.
class Tokenizer {
 public:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Invalid UTF-8 counts as U+FFFD. Throws ValidationError when the text holds something that the
  // vocabulary cannot express and no token stands for the unknown.
  std::vector<std::uint32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;

  // UTF-8; bytes that do not form characters become U+FFFD. Special tokens are shown unless
  // `skip_special`. Throws ValidationError for an id that is not below vocab_size(); an id without
  // a token is nothing.
  std::string decode(std::span<const std::uint32_t> ids, bool skip_special = false) const;

  // One more than the largest id.
  std::uint64_t vocab_size() const;

  std::optional<std::uint32_t> bos_id() const;
  std::optional<std::uint32_t> eos_id() const;

  // True when encode() with add_special starts with bos_id().
  bool adds_bos() const;

 private:
  std::unique_ptr<const State> state_;
};

// From what a directory holds: tokenizer.json, else tokenizer.model (SentencePiece or tiktoken),
// vocab.json with merges.txt, vocab.txt. Weights are not needed. Throws ValidationError (damaged
// files), FormatNotSupportedError (no tokenizer there, or a step that is not known).
Tokenizer load_tokenizer(const std::filesystem::path& directory);

// From the keys tokenizer.ggml.* of a GGUF; `source` names the file in errors.
Tokenizer load_tokenizer(const GgufMetadata& metadata, const std::string& source);

}  // namespace qwodel
