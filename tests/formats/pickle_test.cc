// The pickle machine: what it builds, what it refuses, and that nothing grows without bound.
#include "formats/pickle.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

using Kind = PickleValue::Kind;

constexpr std::array<PickleGlobal, 2> kAllowed = {{
    {"collections", "OrderedDict", true},
    {"torch._utils", "_rebuild_tensor_v2", false},
}};

Pickle load(std::string_view bytes) {
  return Pickle(std::as_bytes(std::span(bytes)), kAllowed, "x.bin");
}

void expect_damaged(std::string_view bytes, std::string_view part) {
  expect_error<ValidationError>([&] { load(bytes); }, part);
}

void expect_refused(std::string_view bytes, std::string_view part) {
  expect_error<FormatNotSupportedError>([&] { load(bytes); }, part);
}

using namespace std::string_view_literals;

TEST(Pickle, Scalars) {
  struct Case {
    std::string_view bytes;
    Kind kind;
    std::int64_t integer;
  };
  for (const Case& one : {
           Case{"N."sv, Kind::none, 0},
           Case{"\x88."sv, Kind::boolean, 1},
           Case{"\x89."sv, Kind::boolean, 0},
           Case{"K\xff."sv, Kind::integer, 255},
           Case{"M\x01\x02."sv, Kind::integer, 0x201},
           Case{"J\xfe\xff\xff\xff."sv, Kind::integer, -2},
           Case{"\x8a\x00."sv, Kind::integer, 0},
           Case{"\x8a\x01\x80."sv, Kind::integer, -128},
           Case{"\x8a\x05\x00\x00\x00\x00\x01."sv, Kind::integer, std::int64_t{1} << 32},
           Case{"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80."sv, Kind::integer, INT64_MIN},
           Case{"G\x3f\xf0\x00\x00\x00\x00\x00\x00."sv, Kind::real, 0},
       }) {
    const Pickle pickle = load(one.bytes);
    EXPECT_EQ(pickle[pickle.root()].kind, one.kind);
    EXPECT_EQ(pickle[pickle.root()].integer, one.integer);
  }
  for (const std::string_view bytes :
       {"\x8c\x02hi."sv, "X\x02\x00\x00\x00hi."sv, "\x8d\x02\x00\x00\x00\x00\x00\x00\x00hi."sv}) {
    const Pickle pickle = load(bytes);
    EXPECT_EQ(pickle[pickle.root()].text, "hi");
  }
}

TEST(Pickle, ContainersAndMemo) {
  // {"a": [1, (1, 2)], "b": the same list}
  const Pickle pickle =
      load("\x80\x02}q\x00(\x8c\x01\x61]q\x01(K\x01K\x01K\x02\x86\x65\x8c\x01\x62h\x01u."sv);
  const PickleValue& dict = pickle[pickle.root()];
  ASSERT_EQ(dict.kind, Kind::dict);
  ASSERT_EQ(dict.items.size(), 4u);
  EXPECT_EQ(dict.items[1], dict.items[3]);
  const PickleValue& list = pickle[dict.items[1]];
  ASSERT_EQ(list.items.size(), 2u);
  EXPECT_EQ(pickle[list.items[1]].kind, Kind::tuple);
  EXPECT_EQ(pickle[pickle[list.items[1]].items[1]].integer, 2);
}

TEST(Pickle, GlobalsOfTheListOnly) {
  const Pickle dict = load("ccollections\nOrderedDict\n)R."sv);
  EXPECT_EQ(dict[dict.root()].kind, Kind::dict);
  const Pickle call = load("\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93K\x07\x85R."sv);
  EXPECT_EQ(call[call.root()].kind, Kind::call);
  EXPECT_EQ(call[call.root()].integer, 1);
  EXPECT_EQ(call[call[call.root()].items[0]].integer, 7);
  expect_refused("cos\nsystem\n\x8c\x02ls\x85R."sv, "os.system");
  expect_refused("c__builtin__\neval\n."sv, "__builtin__.eval");
  expect_refused(
      "\x8c\x0b"
      "collections\x8c\x0bOrderedDicx\x93."sv,
      "collections.OrderedDicx");
  expect_refused("ccollections\nOrderedDict\nK\x01\x85R."sv, "made from arguments");
  expect_refused("cos\nsys\ttem\n."sv, "sys\ttem");
}

TEST(Pickle, OpcodesThatMakeObjects) {
  for (const std::string_view bytes :
       {"(ios\nsystem\n."sv, "(o."sv, "\x81."sv, "\x92."sv, "P1\n."sv, "\x82\x01."sv, "I1\n."sv,
        "V\n."sv, "\x96."sv, "\xff."sv}) {
    expect_refused(bytes, "pickle opcode");
  }
  expect_refused("\x80\x06."sv, "protocol 6");
}

TEST(Pickle, StackAndMemoMistakes) {
  for (const std::string_view bytes : {"."sv,
                                       "0."sv,
                                       "1."sv,
                                       "t."sv,
                                       "e."sv,
                                       "u."sv,
                                       "a."sv,
                                       "s."sv,
                                       "R."sv,
                                       "b."sv,
                                       "Q."sv,
                                       "2."sv,
                                       "q\x00."sv,
                                       "\x94."sv,
                                       "\x85."sv,
                                       "K\x01\x86."sv,
                                       "(."sv,
                                       "((K\x01\x86."sv,
                                       "}(K\x01u."sv,
                                       "]K\x01s."sv,
                                       "K\x01K\x02\x61."sv,
                                       "K\x01(K\x02\x65."sv,
                                       "K\x01)R."sv,
                                       "}K\x01R."sv,
                                       "\x93."sv,
                                       "K\x01K\x02\x93."sv,
                                       "(K\x01"sv,
                                       "K\x01(b."sv}) {
    expect_damaged(bytes, "x.bin: found");
  }
  expect_damaged("h\x05."sv, "memo index 5");
  expect_damaged("j\x05\x00\x00\x00."sv, "memo index 5");
  expect_damaged(
      "\x8a\x09"
      "123456789."sv,
      "more than 64 bits");
}

TEST(Pickle, Truncated) {
  for (const std::string_view bytes :
       {""sv, "K"sv, "K\x01"sv, "X\xff\xff\xff\xff"sv, "\x8d\xff\xff\xff\xff\xff\xff\xff\xff"sv,
        "cno newline"sv, "\x95\x01"sv, "J\x01\x02"sv}) {
    expect_damaged(bytes, "bytes left");
  }
}

TEST(Pickle, DepthAndCyclesCostNothing) {
  std::string deep(1'000'000, ']');
  deep += std::string(999'999, 'a') + ".";
  const Pickle nested = load(deep);
  EXPECT_EQ(nested[nested.root()].items.size(), 1u);
  const Pickle cycle = load("]q\x00h\x00\x61."sv);
  EXPECT_EQ(cycle[cycle.root()].items, std::vector<PickleRef>{cycle.root()});
}

TEST(Pickle, TooManyValues) { expect_damaged(std::string((1u << 23) + 1, 'N'), "too many values"); }

}  // namespace
}  // namespace qwodel
