// Every codec on every kernel target writes and reads the bytes of llama.cpp
// (tests/golden/codecs.json, made by tools/golden/make_codec_goldens.py).
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "codecs/codec.h"
#include "kernels/dispatch.h"
#include "tests/codecs/codec_inputs.h"

namespace qwodel {
namespace {

using nlohmann::json;

const json& goldens() {
  static const json document = [] {
    std::ifstream file(std::string(QWODEL_SOURCE_DIR) + "/tests/golden/codecs.json");
    return json::parse(file);
  }();
  return document;
}

template <class T>
std::string hash(const std::vector<T>& values) {
  return fmt::format("{:016x}", XXH3_64bits(values.data(), values.size() * sizeof(T)));
}

TEST(CodecGolden, InputsAreThoseOfTheReference) {
  for (const auto& [name, expected] : goldens().at("inputs").items()) {
    EXPECT_EQ(hash(make_rows(name)), expected.get<std::string>()) << name;
  }
  for (const auto& [name, expected] : goldens().at("importance").items()) {
    EXPECT_EQ(hash(make_importance(name)), expected.get<std::string>()) << name;
  }
}

struct Case {
  const Codec* codec;
  std::string target;

  std::string name() const { return fmt::format("{}_{}", info(codec->type).name, target); }
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name(); }

class CodecGoldenOnTarget : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override { use_kernel_target(GetParam().target); }
  void TearDown() override { use_kernel_target(""); }
};

// One input of one codec; `key` is "input/importance".
void expect_reference_bytes(const Codec& codec, const std::string& key,
                            const std::string& expected) {
  const std::string input = key.substr(0, key.find('/'));
  const std::vector<float> rows = make_rows(input);
  const std::vector<float> importance = make_importance(key.substr(key.find('/') + 1));
  std::vector<std::byte> bytes(bytes_of(codec.type, rows.size()).value());
  codec.encode(rows.data(), kInputRows, kInputCols,
               importance.empty() ? nullptr : importance.data(), bytes.data());
  std::vector<float> decoded(rows.size());
  codec.decode(bytes.data(), decoded.size(), decoded.data());
  EXPECT_EQ(fmt::format("{} {}", hash(bytes), hash(decoded)), expected) << key;
}

TEST_P(CodecGoldenOnTarget, WritesAndReadsTheReferencesBytes) {
  const Codec& codec = *GetParam().codec;
  const std::string name(info(codec.type).name);
  ASSERT_TRUE(goldens().at("types").contains(name))
      << "no golden rows; run " << goldens()["recipe"];
  const json& rows = goldens()["types"][name];
  // Nine inputs at least (not every type takes huge values), each with two kinds of importance.
  ASSERT_GE(rows.size(), 18u);
  for (const auto& [key, expected] : rows.items()) {
    expect_reference_bytes(codec, key, expected.get<std::string>());
  }
}

// Groups of blocks that do not fill the vectors give the same bytes as full ones.
TEST_P(CodecGoldenOnTarget, BlocksDoNotDependOnTheirNeighbours) {
  const Codec& codec = *GetParam().codec;
  const std::vector<float> rows = make_rows("heavy_tail");
  const std::vector<float> importance = make_importance("positive");
  std::vector<std::byte> whole(bytes_of(codec.type, rows.size()).value());
  codec.encode(rows.data(), kInputRows, kInputCols, importance.data(), whole.data());
  std::vector<std::byte> row(bytes_of(codec.type, kInputCols).value());
  std::vector<float> all(rows.size()), block(info(codec.type).block_size);
  codec.decode(whole.data(), all.size(), all.data());
  for (std::size_t r = 0; r < kInputRows; ++r) {
    codec.encode(rows.data() + r * kInputCols, 1, kInputCols, importance.data(), row.data());
    EXPECT_TRUE(std::equal(row.begin(), row.end(),
                           whole.begin() + static_cast<std::ptrdiff_t>(r * row.size())));
  }
  for (std::size_t b = 0; b < all.size() / block.size(); ++b) {
    codec.decode(whole.data() + b * info(codec.type).block_bytes, block.size(), block.data());
    EXPECT_TRUE(std::equal(block.begin(), block.end(),
                           all.begin() + static_cast<std::ptrdiff_t>(b * block.size())));
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Codec* codec : codecs()) {
    for (const std::string& target : kernel_targets()) cases.push_back({codec, target});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Codecs, CodecGoldenOnTarget, testing::ValuesIn(all_cases()),
                         [](const auto& suite) { return suite.param.name(); });

}  // namespace
}  // namespace qwodel
