#include "tokenizer/gguf_pre_tokenizers.h"

#include <fmt/format.h>

#include <algorithm>

#include "qwodel/error.h"
#include "tokenizer/pre_families.h"

namespace qwodel {
namespace {

// Expressions and names: llama.cpp b11739, src/llama-vocab.cpp and src/unicode.cpp (MIT, The ggml
// authors), written out where its own engine gives \p{Lu} and the like another meaning.
#define QWODEL_CONTRACTIONS "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define QWODEL_TAIL R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"
#define QWODEL_WORD R"(|[^\r\n\p{L}\p{N}]?\p{L}+)"
#define QWODEL_MARKS R"(| ?[^\s\p{L}\p{N}]+[\r\n]*)"
#define QWODEL_MARKS_SLASH R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*)"
// Letters without ASCII's small ones, then letters without its capitals; sets as "none of these".
#define QWODEL_CASED(others, suffix)                               \
  R"([^\r\n\p{L}\p{N}]?[^)" others "a-z]*[^" others "A-Z]+" suffix \
  R"(|[^\r\n\p{L}\p{N}]?[^)" others "a-z]+[^" others "A-Z]*" suffix

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    QWODEL_CONTRACTIONS QWODEL_WORD R"(|\p{N}{1,3})" QWODEL_MARKS QWODEL_TAIL;
constexpr std::string_view kQwen2 =
    QWODEL_CONTRACTIONS QWODEL_WORD R"(|\p{N})" QWODEL_MARKS QWODEL_TAIL;
constexpr std::string_view kQwen35 = QWODEL_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*)" QWODEL_TAIL;
constexpr std::string_view kMinicpm =
    QWODEL_CONTRACTIONS QWODEL_WORD R"(|\p{N}+)" QWODEL_MARKS QWODEL_TAIL;
constexpr std::string_view kUfakzeka = R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" QWODEL_MARKS QWODEL_TAIL;
constexpr std::string_view kGpt4o = QWODEL_CASED(
    R"(\P{L})", QWODEL_CONTRACTIONS "?") R"(|\p{N}{1,3})" QWODEL_MARKS_SLASH QWODEL_TAIL;
constexpr std::string_view kTekken =
    QWODEL_CASED(R"(\P{L})", "") R"(|\p{N})" QWODEL_MARKS_SLASH QWODEL_TAIL;
constexpr std::string_view kGraniteMulti =
    QWODEL_CASED(R"(\p{C}\p{N}\p{P}\p{S}\p{Z})",
                 QWODEL_CONTRACTIONS "?") R"(|\p{N}{1,3})" QWODEL_MARKS_SLASH QWODEL_TAIL;
constexpr std::string_view kTinyAya = R"([^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+)" QWODEL_CONTRACTIONS
                                      R"(?|\p{N}{1,3})" QWODEL_MARKS_SLASH QWODEL_TAIL;
constexpr std::string_view kYoutuWords = R"([^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+)" QWODEL_CONTRACTIONS
                                         R"(?|\p{N})" QWODEL_MARKS_SLASH QWODEL_TAIL;
constexpr std::string_view kYoutuScripts =
    R"([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019})"
    R"(\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}]+)"
    R"(|[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr std::string_view kBailing =
    R"('(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" QWODEL_MARKS
    R"(|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kSeedCoder =
    QWODEL_CONTRACTIONS QWODEL_WORD R"(|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+)" QWODEL_TAIL;
constexpr std::string_view kExaoneMoe = QWODEL_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?)"
    R"(|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kJais2 = QWODEL_CONTRACTIONS QWODEL_WORD
    R"(|\p{N}{1,3})" QWODEL_MARKS
    R"(|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S))"
    R"(|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})";
constexpr std::string_view kAfmoeScripts =
    R"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{F900}-\x{FAFF}\x{3040}-\x{309F}\x{30A0}-\x{30FF})"
    R"(\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF}\x{E40}-\x{E7F}\x{EC0}-\x{EFF}\x{1780}-\x{17FF})"
    R"(\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+)";
constexpr std::string_view kMarkedWords =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*)" QWODEL_TAIL;
constexpr std::string_view kBloom =
    R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+)";
constexpr std::string_view kDigit = R"(\p{N})", kLines = R"([^\n]+|[\n]+)";
// Cuts behind every digit whose run goes on for a multiple of three: a group keeps what is before.
constexpr std::string_view kDigitGroups = R"((?<=\p{N})(?=(?:\p{N}{3})*(?!\p{N})))";

#undef QWODEL_CONTRACTIONS
#undef QWODEL_TAIL
#undef QWODEL_WORD
#undef QWODEL_MARKS
#undef QWODEL_MARKS_SLASH
#undef QWODEL_CASED

constexpr std::string_view kGpt2Steps[] = {kGpt2};
constexpr std::string_view kDefaultSteps[] = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)",
                                              "[0-9][0-9][0-9]"};
constexpr std::string_view kFalconSteps[] = {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, "[0-9][0-9][0-9]"};
constexpr std::string_view kStarcoderSteps[] = {kDigit, kGpt2};
constexpr std::string_view kLlama3Steps[] = {kLlama3};
constexpr std::string_view kQwen2Steps[] = {kQwen2};
constexpr std::string_view kQwen35Steps[] = {kQwen35};
constexpr std::string_view kMinicpmSteps[] = {R"(\p{N}{1,3})", kMinicpm};
constexpr std::string_view kUfakzekaSteps[] = {kUfakzeka};
constexpr std::string_view kGpt4oSteps[] = {kGpt4o};
constexpr std::string_view kTekkenSteps[] = {kTekken};
constexpr std::string_view kGraniteMultiSteps[] = {kGraniteMulti};
constexpr std::string_view kTinyAyaSteps[] = {kDigitGroups, kTinyAya};
constexpr std::string_view kYoutuSteps[] = {kYoutuScripts, kYoutuWords};
constexpr std::string_view kBailingSteps[] = {kBailing};
constexpr std::string_view kSeedCoderSteps[] = {kSeedCoder};
constexpr std::string_view kExaoneMoeSteps[] = {kExaoneMoe};
constexpr std::string_view kJais2Steps[] = {kJais2};
constexpr std::string_view kAfmoeSteps[] = {kDigitGroups, kAfmoeScripts, kMarkedWords};
constexpr std::string_view kBloomSteps[] = {kBloom};
constexpr std::string_view kVikingSteps[] = {kBloom, kDigit};
constexpr std::string_view kSuperbpeSteps[] = {R"(\p{N}+)", R"((?=([0-9]{3})+(?![0-9])))"};
constexpr std::string_view kLagunaSteps[] = {kLines, kQwen2};
constexpr std::string_view kLinesSteps[] = {kLines};
constexpr std::string_view kChameleonSteps[] = {
    "<sentinel:[0-9]+>",       "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
    R"(([\t\n]|    |  ))",     kDigit,
    R"([\p{P}!-/:-@\[-`{-~])", kGpt2};

enum Trait : unsigned { none = 0, ignores = 1, begins = 2, keeps = 4, spaces = 8 };

struct Row {
  std::string_view name;
  std::span<const std::string_view> patterns;  // empty: those of the family of this name
  unsigned traits = none;
};

constexpr Row kRows[] = {
    {"default", kDefaultSteps},
    {"llama-bpe", kLlama3Steps, ignores | begins},
    {"llama3", kLlama3Steps, ignores | begins},
    {"llama-v3", kLlama3Steps, ignores | begins},
    {"falcon3", kLlama3Steps, ignores | begins},
    {"falcon-h1", kLlama3Steps, ignores | begins},
    {"pixtral", kLlama3Steps, ignores | begins},
    {"midm-2.0", kLlama3Steps, ignores | begins},
    {"lfm2", kLlama3Steps, ignores | begins},
    {"jina-v5-nano", kLlama3Steps, ignores | begins},
    {"dbrx", kLlama3Steps},
    {"smaug-bpe", kLlama3Steps},
    {"chatglm-bpe", kLlama3Steps},
    {"glm4", kLlama3Steps, ignores},
    {"glm5", kLlama3Steps, ignores},
    {"deepseek-llm", {}, keeps},
    {"deepseek-coder", {}, keeps},
    {"deepseek-v3", {}, keeps},
    {"spark2_5", {}, keeps},
    {"hunyuan-dense", {}, keeps},
    {"joyai-llm", {}, keeps},
    {"hy_v4", {}, keeps},
    {"falcon", kFalconSteps},
    {"mpt", kGpt2Steps},
    {"olmo", kGpt2Steps},
    {"jais", kGpt2Steps},
    {"gpt-2", kGpt2Steps},
    {"phi-2", kGpt2Steps},
    {"jina-es", kGpt2Steps},
    {"jina-de", kGpt2Steps},
    {"gigachat", kGpt2Steps},
    {"jina-v1-en", kGpt2Steps},
    {"jina-v2-es", kGpt2Steps},
    {"jina-v2-de", kGpt2Steps},
    {"jina-v2-code", kGpt2Steps},
    {"a.x-4.0", kGpt2Steps},
    {"mellum", kGpt2Steps},
    {"modern-bert", kGpt2Steps},
    {"roberta-bpe", kGpt2Steps},
    {"exaone4", kGpt2Steps},
    {"trillion", kGpt2Steps, keeps},
    {"granite-docling", kGpt2Steps, keeps},
    {"starcoder", kStarcoderSteps},
    {"refact", kStarcoderSteps},
    {"codeshell", kStarcoderSteps},
    {"exaone", kStarcoderSteps},
    {"minerva-7b", kStarcoderSteps},
    {"mellum2", kStarcoderSteps},
    {"command-r", kStarcoderSteps, keeps},
    {"smollm", kStarcoderSteps, keeps},
    {"qwen2", kQwen2Steps, keeps},
    {"deepseek-r1-qwen", kQwen2Steps, keeps},
    {"kormo", kQwen2Steps, keeps},
    {"f2llmv2", kQwen2Steps, keeps},
    {"hunyuan", kQwen2Steps, keeps},
    {"solar-open", kQwen2Steps, keeps},
    {"grok-2", kQwen2Steps, keeps},
    {"megrez", kQwen2Steps},
    {"stablelm2", kQwen2Steps},
    {"qwen35", kQwen35Steps, keeps},
    {"minicpm5", kMinicpmSteps, ignores},
    {"ufakzeka", kUfakzekaSteps, keeps},
    {"gpt-4o", kGpt4oSteps, keeps},
    {"llama4", kGpt4oSteps, keeps},
    {"kanana2", kGpt4oSteps, keeps},
    {"talkie", kGpt4oSteps, keeps},
    {"minimax-m2", kGpt4oSteps, keeps},
    {"granite-embed-multi-97m", kGraniteMultiSteps, ignores | keeps},
    {"tekken", kTekkenSteps, ignores | begins | keeps},
    {"tiny_aya", kTinyAyaSteps, keeps},
    {"cohere2moe", kTinyAyaSteps, keeps},
    {"youtu", kYoutuSteps, ignores | keeps},
    {"bailingmoe", kBailingSteps, keeps},
    {"bailingmoe2", kBailingSteps, keeps},
    {"llada-moe", kBailingSteps, keeps},
    {"seed-coder", kSeedCoderSteps, keeps},
    {"exaone-moe", kExaoneMoeSteps},
    {"jais-2", kJais2Steps},
    {"afmoe", kAfmoeSteps, keeps},
    {"bloom", kBloomSteps},
    {"gpt3-finnish", kBloomSteps},
    {"poro-chat", kBloomSteps, keeps},
    {"viking", kVikingSteps, keeps},
    {"superbpe", kSuperbpeSteps, keeps},
    {"laguna", kLagunaSteps, keeps},
    {"chameleon", kChameleonSteps, begins | keeps},
    {"gemma4", kLinesSteps, spaces},
    {"granite-embed-multi-311m", kLinesSteps, spaces},
    {"sarvam-moe", kLinesSteps, spaces | keeps},
};

// Other names of families.
constexpr std::pair<std::string_view, std::string_view> kSameFamily[] = {
    {"hunyuan-dense", "deepseek-v3"}, {"joyai-llm", "deepseek-v3"}, {"hy_v4", "deepseek-v3"}};

std::span<const std::string_view> family_patterns(std::string_view name) {
  for (const auto& [alias, family] : kSameFamily) {
    if (alias == name) name = family;
  }
  for (const PreFamily& family : pre_families()) {
    if (family.names.front().name == name) return family.patterns;
  }
  return {};
}

}  // namespace

GgufPreTokenizer gguf_pre_tokenizer(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name != name) continue;
    const auto patterns = row.patterns.empty() ? family_patterns(name) : row.patterns;
    return {{patterns.begin(), patterns.end()},
            (row.traits & ignores) != 0,
            (row.traits & begins) != 0,
            (row.traits & keeps) == 0,
            (row.traits & spaces) != 0};
  }
  throw FormatNotSupportedError({.where = "tokenizer.ggml.pre",
                                 .found = fmt::format("\"{}\"", name),
                                 .expected = "a name whose rules are known",
                                 .remedy = "tokenize with the model the file was made from"});
}

}  // namespace qwodel
