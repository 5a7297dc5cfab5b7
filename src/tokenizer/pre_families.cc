#include "tokenizer/pre_families.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "io/json.h"
#include "qwodel/error.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

// Expressions as the tokenizer.json files of the models have them; ByteLevel, Digits and
// Punctuation are written as the expressions they are.
#define QWODEL_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define QWODEL_TAIL R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"
#define QWODEL_UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define QWODEL_LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define QWODEL_CASED_WORD(suffix)                                  \
  R"([^\r\n\p{L}\p{N}]?)" QWODEL_UPPER "*" QWODEL_LOWER "+" suffix \
  R"(|[^\r\n\p{L}\p{N}]?)" QWODEL_UPPER "+" QWODEL_LOWER "*" suffix
#define QWODEL_CASED_TAIL R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*)" QWODEL_TAIL
#define QWODEL_SYMBOLS R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~])"
#define QWODEL_MARKED_WORD \
  QWODEL_SYMBOLS R"([A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+)"

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    QWODEL_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)" QWODEL_TAIL;
constexpr std::string_view kDigit = R"(\p{N})", kDigits = R"(\p{N}+)",
                           kThreeDigits = R"(\p{N}{1,3})";
constexpr std::string_view kHanKana = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr std::string_view kLines = "[\r\n]";
constexpr std::string_view kBloom =
    R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+)";

constexpr std::string_view kGpt2Steps[] = {kGpt2};
constexpr std::string_view kStarcoderSteps[] = {kDigit, kGpt2};
constexpr std::string_view kLlama3Steps[] = {
    QWODEL_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)" QWODEL_TAIL};
constexpr std::string_view kQwen2Steps[] = {kQwen2};
constexpr std::string_view kQwen35Steps[] = {
    QWODEL_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*)" QWODEL_TAIL};
constexpr std::string_view kFalconSteps[] = {R"([\p{P}\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E]+)",
                                             kGpt2, kDigits, "[0-9][0-9][0-9]"};
// The letters of deepseek-llm: those of the cased scripts.
constexpr std::string_view kCjk = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";
constexpr std::string_view kDeepseekLlmSteps[] = {
    kLines,
    R"(\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293})"
    R"(\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A})"
    R"(\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556})"
    R"(\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF})"
    R"(\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D})"
    R"(\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D})"
    R"(\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4})"
    R"(\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4})"
    R"(\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124})"
    R"(\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F})"
    R"(\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"
    R"(\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F})"
    R"(\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17})"
    R"(\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3})"
    R"(\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF})"
    R"(\x{1E900}-\x{1E943}]+)",
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)",
    R"(\s+$)",
    kCjk,
    kDigits,
};
constexpr std::string_view kDeepseekCoderSteps[] = {kLines, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kCjk,
                                                    kDigit};
constexpr std::string_view kDeepseekV3Steps[] = {kThreeDigits, kHanKana,
                                                 QWODEL_MARKED_WORD R"([\r\n]*)" QWODEL_TAIL};
constexpr std::string_view kSparkSteps[] = {kThreeDigits, kHanKana,
                                            QWODEL_MARKED_WORD R"(|[\r\n]|\s+(?!\S)|\s+)", kDigit};
constexpr std::string_view kYoutuSteps[] = {
    R"([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+)"
    R"(|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F})"
    R"(\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}]+)"
    R"(|[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)",
    QWODEL_CASED_WORD(QWODEL_CONTRACTIONS "?") R"(|\p{N})" QWODEL_CASED_TAIL};
constexpr std::string_view kTekkenSteps[] = {QWODEL_CASED_WORD("") R"(|\p{N})" QWODEL_CASED_TAIL};
constexpr std::string_view kGpt4o =
    QWODEL_CASED_WORD(QWODEL_CONTRACTIONS "?") R"(|\p{N}{1,3})" QWODEL_CASED_TAIL;
constexpr std::string_view kGpt4oSteps[] = {kGpt4o};
constexpr std::string_view kTinyAyaSteps[] = {R"(\d{1,3}(?=(?:\d{3})*\b))", kGpt4o};
constexpr std::string_view kBloomSteps[] = {kBloom};
constexpr std::string_view kVikingSteps[] = {kBloom, kDigit};
constexpr std::string_view kChameleonSteps[] = {"<sentinel:[0-9]+>",
                                                "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                                                "([\t\n]|    |  )",
                                                kDigit,
                                                R"([\p{P}\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E])",
                                                kGpt2};
constexpr std::string_view kJais2Steps[] = {
    QWODEL_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)"
    R"(|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S))"
    R"(|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})"};
constexpr std::string_view kBailingSteps[] = {
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*)"
    R"(|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr std::string_view kSeedCoderSteps[] = {
    QWODEL_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+)" QWODEL_TAIL};
constexpr std::string_view kUfakzekaSteps[] = {
    R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)" QWODEL_TAIL};
constexpr std::string_view kLagunaSteps[] = {R"([^\n]+|[\n]+)", kQwen2};
constexpr std::string_view kExaoneMoeSteps[] = {
    QWODEL_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?)"
    R"(|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr std::string_view kMinicpm5Steps[] = {
    kThreeDigits, QWODEL_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*)" QWODEL_TAIL};
constexpr std::string_view kSuperbpeSteps[] = {kDigits, R"((?=(\d{3})+(?!\d)))"};

#undef QWODEL_CONTRACTIONS
#undef QWODEL_TAIL
#undef QWODEL_UPPER
#undef QWODEL_LOWER
#undef QWODEL_CASED_WORD
#undef QWODEL_CASED_TAIL
#undef QWODEL_SYMBOLS
#undef QWODEL_MARKED_WORD

constexpr PreName kGpt2Names[] = {{"roberta-bpe", &PreTraits::adds_separator},
                                  {"olmo", &PreTraits::composes},
                                  {"phi-2", &PreTraits::space_tokens},
                                  {"gpt-2"}};
constexpr PreName kStarcoderNames[] = {
    {"command-r", &PreTraits::composes}, {"smollm", &PreTraits::keeps_spaces}, {"starcoder"}};
constexpr PreName kLlama3Names[] = {{"llama-bpe", &PreTraits::ignore_merges}, {"dbrx"}};
constexpr PreName kQwen2Names[] = {{"deepseek-r1-qwen", &PreTraits::adds_begin},
                                   {"stablelm2", &PreTraits::cleans_spaces},
                                   {"qwen2"}};
constexpr PreName kQwen35Names[] = {{"qwen35"}};
constexpr PreName kFalconNames[] = {{"falcon"}};
constexpr PreName kDeepseekLlmNames[] = {{"deepseek-llm"}};
constexpr PreName kDeepseekCoderNames[] = {{"deepseek-coder"}};
constexpr PreName kDeepseekV3Names[] = {{"deepseek-v3"}};
constexpr PreName kSparkNames[] = {{"spark2_5"}};
constexpr PreName kYoutuNames[] = {{"youtu"}};
constexpr PreName kTekkenNames[] = {{"tekken"}};
constexpr PreName kGpt4oNames[] = {{"llama4", &PreTraits::adds_begin},
                                   {"granite-embed-multi-97m", &PreTraits::ignore_merges},
                                   {"gpt-4o"}};
constexpr PreName kTinyAyaNames[] = {{"tiny_aya"}};
constexpr PreName kBloomNames[] = {{"bloom"}};
constexpr PreName kVikingNames[] = {{"viking"}};
constexpr PreName kChameleonNames[] = {{"chameleon"}};
constexpr PreName kJais2Names[] = {{"jais-2"}};
constexpr PreName kBailingNames[] = {{"bailingmoe"}};
constexpr PreName kSeedCoderNames[] = {{"seed-coder"}};
constexpr PreName kUfakzekaNames[] = {{"ufakzeka"}};
constexpr PreName kLagunaNames[] = {{"laguna"}};
constexpr PreName kExaoneMoeNames[] = {{"exaone-moe"}};
constexpr PreName kMinicpm5Names[] = {{"minicpm5"}};
constexpr PreName kSuperbpeNames[] = {{"superbpe"}};

// Widely used ones first: where two split alike, the first is taken.
constexpr PreFamily kFamilies[] = {
    {kLlama3Steps, kLlama3Names},
    {kQwen2Steps, kQwen2Names},
    {kGpt2Steps, kGpt2Names},
    {kStarcoderSteps, kStarcoderNames},
    {kGpt4oSteps, kGpt4oNames},
    {kTekkenSteps, kTekkenNames},
    {kDeepseekV3Steps, kDeepseekV3Names},
    {kDeepseekLlmSteps, kDeepseekLlmNames},
    {kDeepseekCoderSteps, kDeepseekCoderNames},
    {kFalconSteps, kFalconNames},
    {kQwen35Steps, kQwen35Names},
    {kBloomSteps, kBloomNames},
    {kVikingSteps, kVikingNames},
    {kChameleonSteps, kChameleonNames},
    {kTinyAyaSteps, kTinyAyaNames},
    {kYoutuSteps, kYoutuNames},
    {kJais2Steps, kJais2Names},
    {kBailingSteps, kBailingNames},
    {kSeedCoderSteps, kSeedCoderNames},
    {kUfakzekaSteps, kUfakzekaNames},
    {kLagunaSteps, kLagunaNames},
    {kExaoneMoeSteps, kExaoneMoeNames},
    {kMinicpm5Steps, kMinicpm5Names},
    {kSparkSteps, kSparkNames},
    {kSuperbpeSteps, kSuperbpeNames},
};

// Loaded by llama.cpp, but given by no rule: another spelling of a family above, or a way to split
// that no pre_tokenizer of a tokenizer.json expresses.
constexpr std::string_view kOtherNames[] = {
    "default",
    "llama3",
    "llama-v3",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "jina-v5-nano",
    "mpt",
    "jina-es",
    "jina-de",
    "gigachat",
    "jina-v2-es",
    "jina-v2-de",
    "a.x-4.0",
    "mellum",
    "modern-bert",
    "gemma4",
    "sarvam-moe",
    "jina-v1-en",
    "jina-v2-code",
    "whitespace",
    "refact",
    "kormo",
    "f2llmv2",
    "smaug-bpe",
    "poro-chat",
    "chatglm-bpe",
    "glm4",
    "glm5",
    "jais",
    "codeshell",
    "gpt3-finnish",
    "exaone",
    "exaone4",
    "minerva-7b",
    "megrez",
    "kanana2",
    "talkie",
    "cohere2moe",
    "trillion",
    "granite-docling",
    "bailingmoe2",
    "llada-moe",
    "hunyuan",
    "hunyuan-dense",
    "hy_v4",
    "joyai-llm",
    "kimi-k2",
    "grok-2",
    "afmoe",
    "minimax-m2",
    "solar-open",
    "mellum2",
    "granite-embed-multi-311m",
};

constexpr std::string_view kAddBeginNames[] = {"llama-bpe",    "llama3",  "llama-v3", "falcon3",
                                               "falcon-h1",    "pixtral", "midm-2.0", "lfm2",
                                               "jina-v5-nano", "tekken",  "chameleon"};

using Words = std::vector<std::string>;

PreTokenizer pre_tokenizer_of(const PreFamily& family) {
  std::vector<PreTokenizer::Step> steps;
  for (const std::string_view pattern : family.patterns) {
    steps.push_back(SplitStep{Regex(std::string(pattern), std::string(family.names.back().name)),
                              SplitBehavior::isolated, false});
  }
  return PreTokenizer(std::move(steps));
}

// The expressions of a pre-tokenizer whose every step isolates matches; nothing for another one.
std::optional<std::vector<std::string_view>> patterns_of(const PreTokenizer& pre_tokenizer) {
  std::vector<std::string_view> patterns;
  for (const auto& step : pre_tokenizer.steps()) {
    if (std::holds_alternative<PrefixSpaceStep>(step) ||
        std::holds_alternative<ByteAlphabetStep>(step)) {
      continue;
    }
    const auto* split = std::get_if<SplitStep>(&step);
    if (split == nullptr || split->behavior != SplitBehavior::isolated || split->invert) {
      return std::nullopt;
    }
    patterns.push_back(split->regex.pattern());
  }
  return patterns;
}

// Without the space in front, which the runtime adds by another key.
PreTokenizer without_prefix_space(const PreTokenizer& pre_tokenizer, const std::string& source) {
  std::vector<PreTokenizer::Step> steps;
  for (const auto& step : pre_tokenizer.steps()) {
    if (const auto* split = std::get_if<SplitStep>(&step)) {
      steps.push_back(
          SplitStep{Regex(split->regex.pattern(), source), split->behavior, split->invert});
    } else if (const auto* metaspace = std::get_if<MetaspaceStep>(&step)) {
      steps.push_back(*metaspace);
    }
  }
  return PreTokenizer(std::move(steps));
}

std::string name_in(const PreFamily& family, const PreTraits& traits) {
  for (const PreName& name : family.names) {
    if (name.needs == nullptr || traits.*name.needs) return std::string(name.name);
  }
  return std::string(family.names.back().name);
}

std::vector<std::size_t> ends_of(const Words& words) {
  std::vector<std::size_t> ends;
  std::size_t at = 0;
  for (const std::string& word : words) ends.push_back(at += word.size());
  return ends;
}

// How many word ends only one of the two has.
std::size_t distance(const Words& a, const Words& b) {
  const auto ends_a = ends_of(a), ends_b = ends_of(b);
  std::vector<std::size_t> different;
  std::set_symmetric_difference(ends_a.begin(), ends_a.end(), ends_b.begin(), ends_b.end(),
                                std::back_inserter(different));
  return different.size();
}

std::string escaped(std::string_view text) {
  return Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string joined(const Words& words, std::size_t first, std::size_t last) {
  std::string result;
  for (std::size_t i = first; i < last && i < words.size(); ++i) {
    if (i > first) result += ' ';
    result += escaped(words[i]);
  }
  return result;
}

// The words of both up to the first place behind their difference where they agree again.
std::pair<std::string, std::string> first_difference(const Words& a, const Words& b) {
  std::size_t i = 0;
  while (i < a.size() && i < b.size() && a[i] == b[i]) ++i;
  std::size_t end_a = i, end_b = i, size_a = 0, size_b = 0;
  while (end_a < a.size() || end_b < b.size()) {
    const bool take_a = end_b >= b.size() || (end_a < a.size() && size_a <= size_b);
    if (take_a) {
      size_a += a[end_a++].size();
    } else {
      size_b += b[end_b++].size();
    }
    if (size_a == size_b && end_a > i && end_b > i) break;
  }
  constexpr std::size_t kShown = 6;
  return {joined(a, i, std::min(end_a, i + kShown)), joined(b, i, std::min(end_b, i + kShown))};
}

}  // namespace

std::span<const PreFamily> pre_families() { return kFamilies; }

bool is_pre_name(std::string_view name) {
  for (const PreFamily& family : kFamilies) {
    for (const PreName& known : family.names) {
      if (known.name == name) return true;
    }
  }
  return std::find(std::begin(kOtherNames), std::end(kOtherNames), name) != std::end(kOtherNames);
}

bool adds_begin_by_default(std::string_view name) {
  return std::find(std::begin(kAddBeginNames), std::end(kAddBeginNames), name) !=
         std::end(kAddBeginNames);
}

std::string_view probe_text() {
  return "Hello world, it's WE'LL he'd don'T I'M you're they'VE o'clock l'été Ankara'nın Paris'te "
         "o'reilly; "
         "camelCase HTTPServer mixedUPPER iPhone ÉCOLEété Straße ǅungla 1 22 333 4444 55555 666666 "
         "7777777 3.14 1,000,000 x2y34z567 ٣٤٥٦ ½² Ⅷ a1 $100 +5 -3 =x <b> ^2 ~z `q` |p| "
         "foo_bar __init__ (paren) [brack] {brace} \"quoted\" #tag @user a/b//c.txt "
         "http://x.y/z\n/x "
         "two  12 ?!?! ... …。，、। ---- ====\n====\r\n\r\n  indented\n\n\n\ttab\t\ttabs   three   "
         " four"
         "     five \n  \n x \u00a0nbsp\u3000wide 我想在apple工作1314天 東京タワー "
         "ひらがな，混ぜる。"
         "한국어 문장입니다 ㄱㄴ ㄅㄆ “curly” ‘q’ — dash Привет мир नमस्ते दुनिया é̂ a\u0301b "
         "ภาษาไทย สวัสดี မြန်မာ עברית العربية، نص۔ 🚀🦙 👩\u200d💻 \u200b 10km² IMGIMGABZ a b c "
         "don't.\nNext!\n!\n ?\n/ end/\n/\n <sentinel:7> last  \t ";
}

std::string derive_pre_name(const PreTokenizer& pre_tokenizer, const PreTraits& traits,
                            const std::string& source) {
  if (const auto patterns = patterns_of(pre_tokenizer)) {
    for (const PreFamily& family : kFamilies) {
      if (std::equal(patterns->begin(), patterns->end(), family.patterns.begin(),
                     family.patterns.end())) {
        return name_in(family, traits);
      }
    }
  }
  const Words words = without_prefix_space(pre_tokenizer, source).split(probe_text());
  const PreFamily* nearest = nullptr;
  Words nearest_words;
  std::size_t least = 0;
  for (const PreFamily& family : kFamilies) {
    Words candidate = pre_tokenizer_of(family).split(probe_text());
    if (candidate == words) return name_in(family, traits);
    const std::size_t differences = distance(words, candidate);
    if (nearest == nullptr || differences < least) {
      nearest = &family;
      nearest_words = std::move(candidate);
      least = differences;
    }
  }
  const auto [ours, theirs] = first_difference(words, nearest_words);
  const std::string name = name_in(*nearest, traits);
  throw ValidationError(
      {.where = source,
       .found = fmt::format("a pre_tokenizer that splits {} where the nearest known one, {}, "
                            "splits {}",
                            ours, name, theirs),
       .expected = "one that the runtime knows",
       .remedy = fmt::format("choose one with --tokenizer-pre NAME, for example {}", name)});
}

}  // namespace qwodel
