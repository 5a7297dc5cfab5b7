#include "tokenizer/tokenizer.h"

#include "qwodel/error.h"

namespace qwodel {

struct Tokenizer::State {};

namespace {

[[noreturn]] void refuse(std::string source) {
  throw FormatNotSupportedError({.where = std::move(source),
                                 .found = "a tokenizer",
                                 .expected = "one of the kinds that can be run",
                                 .remedy = ""});
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<std::uint32_t> Tokenizer::encode(std::string_view, const EncodeOptions&) const {
  return {};
}
std::string Tokenizer::decode(std::span<const std::uint32_t>, bool) const { return {}; }
std::uint64_t Tokenizer::vocab_size() const { return 0; }
std::optional<std::uint32_t> Tokenizer::bos_id() const { return std::nullopt; }
std::optional<std::uint32_t> Tokenizer::eos_id() const { return std::nullopt; }
bool Tokenizer::adds_bos() const { return false; }

Tokenizer load_tokenizer(const std::filesystem::path& directory) { refuse(directory.string()); }
Tokenizer load_tokenizer(const GgufMetadata&, const std::string& source) { refuse(source); }

}  // namespace qwodel
