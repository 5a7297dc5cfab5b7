// What stands behind a Tokenizer: one of these for tokenizer.json's pipeline, one for GGUF's.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/subword_model.h"
#include "tokenizer/tokenizer.h"

namespace qwodel {

struct Tokenizer::State {
  virtual ~State() = default;

  // As the methods of Tokenizer; the text need not be UTF-8, ids are below vocab_size.
  virtual std::vector<std::uint32_t> encode(std::string_view text,
                                            const EncodeOptions& options) const = 0;
  virtual std::string decode(std::span<const std::uint32_t> ids, bool skip_special) const = 0;

  std::uint64_t vocab_size = 0;
  std::optional<std::uint32_t> bos, eos;
  bool adds_bos = false;
};

// Working memory for encode() calls: as many as run at the same time.
class ScratchPool {
 public:
  class Lease {
   public:
    Lease(ScratchPool& pool, std::unique_ptr<EncodeScratch> scratch)
        : pool_(pool), scratch_(std::move(scratch)) {}
    ~Lease() { pool_.give_back(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    EncodeScratch& operator*() { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<EncodeScratch> scratch_;
  };
  Lease take();

 private:
  void give_back(std::unique_ptr<EncodeScratch> scratch);

  std::mutex mutex_;
  std::vector<std::unique_ptr<EncodeScratch>> free_;
};

// Encodes words with a model, those seen before from the cache.
class WordEncoder {
 public:
  // `cuts_at_spaces`: U+2581 behind another character may begin a word of its own, because no token
  // reaches across.
  WordEncoder(const SubwordModel& model, bool cuts_at_spaces, EncodeScratch& scratch)
      : model_(model), cuts_at_spaces_(cuts_at_spaces), scratch_(scratch) {}

  void add(std::string_view word, std::vector<std::uint32_t>& ids);

 private:
  void add_part(std::string_view word, std::vector<std::uint32_t>& ids);

  const SubwordModel& model_;
  bool cuts_at_spaces_;
  EncodeScratch& scratch_;
};

// True when U+2581 is a token and no text holds it behind another character.
bool spaces_begin_tokens(const std::vector<std::string_view>& texts);

}  // namespace qwodel
