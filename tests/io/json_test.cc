// JSON is parsed strictly and within bounds.
#include "io/json.h"

#include <gtest/gtest.h>

#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

void expect_refused(const std::string& text, std::string_view part) {
  expect_error<ValidationError>([&] { parse_json(text, "x.json"); }, part);
}

std::string nested(std::size_t depth, char open, char close) {
  return std::string(depth, open) + std::string(depth, close);
}

TEST(Json, DocumentsOfEveryKind) {
  const Json document = parse_json(
      R"({"null":null,"flag":true,"int":-3,"big":18446744073709551615,"real":1.5,)"
      R"("text":"\u00e9\n","list":[1,[],{},[2,{"a":[3]}]],"object":{"a":{"b":{}},"c":4}})",
      "x.json");
  EXPECT_EQ(document.size(), 8u);
  EXPECT_TRUE(document.at("null").is_null());
  EXPECT_EQ(document.at("flag"), true);
  EXPECT_EQ(document.at("int"), -3);
  EXPECT_EQ(document.at("big").get<std::uint64_t>(), 18446744073709551615u);
  EXPECT_EQ(document.at("real"), 1.5);
  EXPECT_EQ(document.at("text"), "\xC3\xA9\n");
  EXPECT_EQ(document.at("list").dump(), R"([1,[],{},[2,{"a":[3]}]])");
  EXPECT_EQ(document.at("object").dump(), R"({"a":{"b":{}},"c":4})");
  for (const char* text : {"1", "null", "\"x\"", "[]", "{}", " [1] \n"}) {
    EXPECT_EQ(parse_json(text, "x"), Json::parse(text));
  }
}

TEST(Json, DuplicateKeysOfOneObject) {
  expect_refused(R"({"a":1,"a":2})", "x.json: found key \"a\" twice");
  expect_refused(R"({"b":{"a":1,"c":[],"a":1}})", "\"a\" twice");
  expect_refused(R"([{"x":{}},{"a":1,"\u0061":2}])", "\"a\" twice");
  expect_refused(R"({"":1,"":2})", "twice");
  EXPECT_EQ(parse_json(R"([{"a":1},{"a":2,"b":{"a":3}}])", "x").size(), 2u);
}

TEST(Json, DepthIsBounded) {
  EXPECT_NO_THROW(parse_json(nested(128, '[', ']'), "x"));
  expect_refused(nested(129, '[', ']'), "deeper than 128");
  expect_refused(std::string(10'000'000, '['), "deeper than 128");
  std::string objects;
  for (int i = 0; i < 200; ++i) objects += R"({"a":)";
  expect_refused(objects, "deeper than 128");
}

TEST(Json, WhatIsNoJson) {
  for (const char* text :
       {"",        " ",   "{",   "}",    "[1,]",       "{\"a\"}",          "{\"a\":}",
        "{a:1}",   "nul", "01",  "NaN",  "[Infinity]", "-Infinity",        "'a'",
        "\"\\x\"", "\"a", "1 2", "[] x", "\"\xff\"",   "\"\xed\xa0\x80\"", "1e999",
        "/* */ 1"}) {
    expect_refused(text, "invalid JSON");
  }
  expect_refused(std::string("\"\0\"", 3), "invalid JSON");
}

TEST(Json, Files) {
  const TempDirectory folder;
  EXPECT_EQ(read_json(folder.write("a.json", "[1]")).dump(), "[1]");
  expect_error<ValidationError>([&] { read_json(folder / "a.json", 2); }, "3 bytes");
  expect_error<ValidationError>([&] { read_json(folder.write("empty.json", "")); }, "empty.json");
  expect_error<DependencyError>([&] { read_json(folder / "gone.json"); }, "gone.json");
  expect_error<DependencyError>([&] { read_json(folder.path()); }, "directory");
}

TEST(Json, Members) {
  const Json object = parse_json(R"({"a":1})", "x");
  EXPECT_EQ(*find_member(object, "a"), 1);
  EXPECT_EQ(find_member(object, "b"), nullptr);
  EXPECT_EQ(find_member(Json::array(), "a"), nullptr);
  EXPECT_EQ(find_member(nullptr, "a"), nullptr);
}

// A filtering callback of nlohmann/json is quadratic in the number of members: it would run into
// the time limit of a test.
TEST(Json, LargeDocuments) {
  constexpr std::size_t kEntries = 400'000;
  std::string text = "{\"list\":[[]";
  for (std::size_t i = 0; i < kEntries; ++i) text += ",[\"a\",\"b\"]";
  text += "],\"map\":{\"k\":0";
  for (std::size_t i = 0; i < kEntries; ++i) text += ",\"k" + std::to_string(i) + "\":{}";
  text += "}}";
  EXPECT_EQ(parse_json(text, "x").at("map").size(), kEntries + 1);
}

}  // namespace
}  // namespace qwodel
