#include "tokenizer/tokenizer.h"

#include <fmt/format.h>

#include "qwodel/error.h"
#include "tokenizer/tokenizer_state.h"

namespace qwodel {

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<std::uint32_t> Tokenizer::encode(std::string_view text,
                                             const EncodeOptions& options) const {
  return state_->encode(text, options);
}

std::string Tokenizer::decode(std::span<const std::uint32_t> ids, bool skip_special) const {
  for (const std::uint32_t id : ids) {
    if (id < state_->vocab_size) continue;
    throw ValidationError({.where = "token ids",
                           .found = fmt::format("{}", id),
                           .expected = fmt::format("ids below {}", state_->vocab_size),
                           .remedy = "use the tokenizer that made these ids"});
  }
  return state_->decode(ids, skip_special);
}

std::uint64_t Tokenizer::vocab_size() const { return state_->vocab_size; }
std::optional<std::uint32_t> Tokenizer::bos_id() const { return state_->bos; }
std::optional<std::uint32_t> Tokenizer::eos_id() const { return state_->eos; }
bool Tokenizer::adds_bos() const { return state_->adds_bos; }

}  // namespace qwodel
