#include "tokenizer/sentencepiece_model.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "io/mapped_file.h"
#include "qwodel/error.h"
#include "tokenizer/sentencepiece_model.pb.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

[[noreturn]] void refuse(const std::string& source, std::string found, std::string expected) {
  throw ValidationError({.where = source,
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = "download the file again"});
}

SentencePieceModel::Piece checked_piece(const sentencepiece::Piece& piece, std::size_t id,
                                        const std::string& source) {
  if (!is_utf8(piece.text())) {
    refuse(source, fmt::format("piece {} that is not UTF-8", id), "text");
  }
  if (!std::isfinite(piece.score())) {
    refuse(source, fmt::format("score {} of piece {}", piece.score(), id), "a finite number");
  }
  // An unknown number is what protobuf gives for an enumerator it does not know: the default.
  const bool known = piece.type() >= 1 && piece.type() <= 6;
  return {piece.text(), piece.score(),
          known ? static_cast<PieceType>(piece.type()) : PieceType::normal};
}

}  // namespace

bool looks_like_sentencepiece(std::span<const std::byte> bytes) {
  // Field 1 (pieces) as a message, and inside it field 1 (the text) as bytes. Base64 lines, the
  // other thing found under this name, hold no control characters.
  return bytes.size() > 3 && bytes[0] == std::byte{0x0A} && bytes[2] == std::byte{0x0A};
}

SentencePieceModel parse_sentencepiece(std::span<const std::byte> bytes,
                                       const std::string& source) {
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    refuse(source, fmt::format("{} bytes", bytes.size()), "a SentencePiece model below 2 GiB");
  }
  sentencepiece::Model file;
  if (!file.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    refuse(source, fmt::format("{} bytes that are not a protobuf message", bytes.size()),
           "a SentencePiece model");
  }
  if (file.pieces_size() == 0) refuse(source, "no pieces", "a SentencePiece model");

  SentencePieceModel model;
  model.pieces.reserve(static_cast<std::size_t>(file.pieces_size()));
  for (const auto& piece : file.pieces()) {
    model.pieces.push_back(checked_piece(piece, model.pieces.size(), source));
  }
  const int algorithm = file.trainer().model_type();
  if (algorithm < 1 || algorithm > 4) {
    refuse(source, fmt::format("model type {}", algorithm), "1 (Unigram) to 4 (characters)");
  }
  model.algorithm = static_cast<SentencePieceModel::Algorithm>(algorithm);
  model.add_dummy_prefix = file.normalizer().add_dummy_prefix();
  model.remove_extra_whitespaces = file.normalizer().remove_extra_whitespaces();
  model.precompiled_charsmap = file.normalizer().precompiled_charsmap();
  model.byte_fallback = file.trainer().byte_fallback();
  const auto id_of = [&](std::int32_t id) -> std::optional<std::uint32_t> {
    if (id < 0 || static_cast<std::size_t>(id) >= model.pieces.size()) return std::nullopt;
    return static_cast<std::uint32_t>(id);
  };
  model.unknown_id = id_of(file.trainer().unknown_id());
  model.begin_id = id_of(file.trainer().begin_id());
  model.end_id = id_of(file.trainer().end_id());
  return model;
}

SentencePieceModel read_sentencepiece(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_sentencepiece(file.bytes(), path.string());
}

}  // namespace qwodel
