// A SentencePiece model file: pieces, scores and how text is normalized.
//
// Format: google/sentencepiece, sentencepiece_model.proto.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace qwodel {

enum class PieceType : std::uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6,
};

struct SentencePieceModel {
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::normal;
  };

  enum class Algorithm : std::uint8_t { unigram = 1, bpe = 2, word = 3, character = 4 };

  std::vector<Piece> pieces;  // index = token id
  Algorithm algorithm = Algorithm::unigram;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  std::string precompiled_charsmap;  // bytes; may be empty
  bool byte_fallback = false;
  // Nothing where the file says that there is none, or names no piece.
  std::optional<std::uint32_t> unknown_id, begin_id, end_id;
};

// True when the bytes start as a model file does: a piece, or nothing else that is printable text.
bool looks_like_sentencepiece(std::span<const std::byte> bytes);

// Throws ValidationError for bytes that are not a model, a model without pieces, a piece that is
// not UTF-8 or has a score that is not finite.
SentencePieceModel parse_sentencepiece(std::span<const std::byte> bytes, const std::string& source);

SentencePieceModel read_sentencepiece(const std::filesystem::path& path);

}  // namespace qwodel
