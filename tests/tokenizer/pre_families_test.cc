#include "tokenizer/pre_families.h"

#include <gtest/gtest.h>

#include <map>

#include "io/json.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

using Words = std::vector<std::string>;

const Json kByteLevel = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
const Json kBytesOnly = {{"type", "ByteLevel"}, {"use_regex", false}};

Json sequence(const std::vector<Json>& steps) {
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}
Json split(const std::string& regex, const std::string& behavior = "Isolated",
           bool invert = false) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", behavior},
          {"invert", invert}};
}
Json digits(bool individual) { return {{"type", "Digits"}, {"individual_digits", individual}}; }

std::string name_of(const Json& pre_tokenizer, const PreTraits& traits = {}) {
  return derive_pre_name(PreTokenizer(pre_tokenizer, "tokenizer.json"), traits, "tokenizer.json");
}

PreTokenizer family_splitter(const PreFamily& family) {
  std::vector<PreTokenizer::Step> steps;
  for (const auto pattern : family.patterns) {
    steps.push_back(
        SplitStep{Regex(std::string(pattern), "family"), SplitBehavior::isolated, false});
  }
  return PreTokenizer(std::move(steps));
}

TEST(PreFamilies, AllSplitTheProbeTextDifferently) {
  std::map<Words, std::string_view> seen;
  for (const PreFamily& family : pre_families()) {
    const auto [other, is_new] =
        seen.emplace(family_splitter(family).split(probe_text()), family.names.back().name);
    const std::string_view name = family.names.back().name;
    // Another expression that matches the same; only its text tells it apart.
    const bool same = name == "bailingmoe" && !is_new && other->second == "qwen2";
    EXPECT_NE(is_new, same) << name << " splits as " << other->second;
  }
  EXPECT_EQ(seen.size(), pre_families().size() - 1);
}

TEST(PreFamilies, SplitsLoseNothing) {
  for (const PreFamily& family : pre_families()) {
    std::string joined;
    for (const std::string& word : family_splitter(family).split(probe_text())) {
      EXPECT_FALSE(word.empty());
      joined += word;
    }
    EXPECT_EQ(joined, probe_text());
  }
}

TEST(PreFamilies, KnowsTheNamesOfItsOwnTable) {
  for (const PreFamily& family : pre_families()) {
    for (const PreName& name : family.names) EXPECT_TRUE(is_pre_name(name.name)) << name.name;
    EXPECT_EQ(family.names.back().needs, nullptr);
  }
  EXPECT_TRUE(is_pre_name("kimi-k2"));
  EXPECT_FALSE(is_pre_name("llama-4"));
}

// The definitions are those of the models' tokenizer.json files.
TEST(PreFamilies, NamesTheCanonicalModels) {
  EXPECT_EQ(name_of(kByteLevel), "gpt-2");
  EXPECT_EQ(name_of(kByteLevel, {.space_tokens = true}), "phi-2");
  EXPECT_EQ(name_of(kByteLevel, {.composes = true}), "olmo");
  EXPECT_EQ(name_of(kByteLevel, {.adds_separator = true}), "roberta-bpe");
  const Json starcoder = sequence({digits(true), kByteLevel});
  EXPECT_EQ(name_of(starcoder), "starcoder");
  EXPECT_EQ(name_of(starcoder, {.keeps_spaces = true}), "smollm");
  EXPECT_EQ(name_of(starcoder, {.composes = true}), "command-r");
  EXPECT_EQ(name_of(sequence({{{"type", "Punctuation"}, {"behavior", "Contiguous"}},
                              kByteLevel,
                              digits(false),
                              split("[0-9][0-9][0-9]")})),
            "falcon");
  EXPECT_EQ(name_of(sequence({split("[\r\n]"), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"),
                              split("[一-龥ࠀ-一가-퟿]+"), digits(true), kBytesOnly})),
            "deepseek-coder");
  EXPECT_EQ(name_of(sequence({split(" ?[^(\\s|[.,!?…。，、।۔،])]+"), kBytesOnly})), "bloom");
}

// Other words for the same: \d for the digits of the probe would not do, {1,1} and groups do.
TEST(PreFamilies, DerivesFromBehaviorWhenTheExpressionIsAnother) {
  EXPECT_EQ(name_of(sequence({split("(?:[^\\r\\n\\p{L}\\p{N}]?[\\p{L}]+)|"
                                    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
                                    "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
                                    "\\s+(?!\\S)|\\s+"),
                              kBytesOnly})),
            "ufakzeka")
      << "words come before contractions here, so there are none";
  EXPECT_EQ(name_of(split("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L})+|"
                          "[\\p{Nd}\\p{Nl}\\p{No}]{1,1}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
                          "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")),
            "qwen2");
}

TEST(PreFamilies, NamesTheNearestWhenNoneFits) {
  expect_error<ValidationError>(
      [] { name_of(sequence({split("\\p{N}", "Contiguous"), kByteLevel})); }, "gpt-2");
  const auto derive = [] {
    name_of(
        split("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,2}|"
              " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"));
  };
  expect_error<ValidationError>(derive, "splits \"33\" \"3\"");
  expect_error<ValidationError>(derive, "--tokenizer-pre");
}

TEST(PreTokenizer, FollowsTheBehaviors) {
  const std::string text = "a--b-";
  const auto words = [&](const std::string& behavior, bool invert = false) {
    return PreTokenizer(split("-", behavior, invert), "test").split(text);
  };
  EXPECT_EQ(words("Removed"), (Words{"a", "b"}));
  EXPECT_EQ(words("Isolated"), (Words{"a", "-", "-", "b", "-"}));
  EXPECT_EQ(words("Contiguous"), (Words{"a", "--", "b", "-"}));
  EXPECT_EQ(words("MergedWithPrevious"), (Words{"a-", "-", "b-"}));
  EXPECT_EQ(words("MergedWithNext"), (Words{"a", "-", "-b", "-"}));
  EXPECT_EQ(words("Removed", true), (Words{"-", "-", "-"}));
}

TEST(PreTokenizer, FollowsTheOtherKinds) {
  const auto words = [](const Json& definition, const std::string& text) {
    return PreTokenizer(definition, "test").split(text);
  };
  EXPECT_EQ(words({{"type", "Metaspace"}, {"replacement", "\u2581"}}, "a b"),
            (Words{"\u2581a", "\u2581b"}));
  EXPECT_EQ(words({{"type", "Metaspace"}, {"prepend_scheme", "never"}}, "a  b"),
            (Words{"a", "\u2581", "\u2581b"}));
  EXPECT_EQ(words({{"type", "Whitespace"}}, "ab, c!?"), (Words{"ab", ",", "c", "!?"}));
  EXPECT_EQ(words({{"type", "BertPreTokenizer"}}, "ab, c!?"), (Words{"ab", ",", "c", "!", "?"}));
  EXPECT_EQ(words({{"type", "CharDelimiterSplit"}, {"delimiter", "|"}}, "a|b"), (Words{"a", "b"}));
  EXPECT_EQ(words(nullptr, "a b"), (Words{"a b"}));
  EXPECT_EQ(words(sequence({{{"type", "ByteLevel"}, {"add_prefix_space", true}}}), "a b"),
            (Words{" a", " b"}));
  EXPECT_EQ(words(split("(?=(\\d{3})+(?!\\d))"), "x1234567"), (Words{"x1", "234", "567"}));
}

TEST(PreTokenizer, RefusesWhatItCannotRun) {
  const auto make = [](const Json& definition) {
    return [definition] { PreTokenizer(definition, "tokenizer.json").split(probe_text()); };
  };
  expect_error<ValidationError>(make(split("(unclosed")), "(unclosed");
  expect_error<ValidationError>(make(split("[\\p{L}&&[^\\p{Han}]]+")), "intersections");
  expect_error<FormatNotSupportedError>(make({{"type", "Unheard"}}), "the step \"Unheard\"");
  expect_error<ValidationError>(make({{"type", "Split"}}), "Split without pattern");
  expect_error<ValidationError>(make(split("a", "Sideways")), "Sideways");
  Json nested = kByteLevel;
  for (int i = 0; i < 40; ++i) nested = sequence({nested});
  expect_error<ValidationError>(make(nested), "nested too deep");
}

TEST(PreTokenizer, StopsCatastrophicBacktracking) {
  const PreTokenizer hostile(split("(x+x+)+[yz]"), "tokenizer.json");
  expect_error<ValidationError>([&] { hostile.split(std::string(64, 'x')); }, "limit");
}

}  // namespace
}  // namespace qwodel
