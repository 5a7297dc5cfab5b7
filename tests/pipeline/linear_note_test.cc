// What a resumed run knows of linears that it finds done.
#include "pipeline/linear_note.h"

#include <gtest/gtest.h>

#include <cmath>

#include "io/json.h"

namespace qwodel {
namespace {

TEST(LinearNote, ComesBack) {
  TensorReport row;
  row.method = "awq+gptq";
  row.nmse = 0.25;
  row.calibrated = CalibratedLinear{.tokens = 77,
                                    .loss_before = 0.5,
                                    .loss_after = 0.125,
                                    .scale_ratio = 0.3,
                                    .scale_duo = true,
                                    .scale_refused = true,
                                    .damp_percent = 0.1};
  TensorReport found;
  read_note(parse_json(to_note(row).dump(), "note"), found);
  EXPECT_EQ(found.method, "awq+gptq");
  EXPECT_EQ(found.nmse, 0.25);
  ASSERT_TRUE(found.calibrated);
  EXPECT_EQ(found.calibrated->tokens, 77u);
  EXPECT_EQ(found.calibrated->loss_before, 0.5);
  EXPECT_EQ(found.calibrated->loss_after, 0.125);
  EXPECT_EQ(found.calibrated->scale_ratio, 0.3);
  EXPECT_TRUE(found.calibrated->scale_duo);
  EXPECT_TRUE(found.calibrated->scale_refused);
  EXPECT_EQ(found.calibrated->damp_percent, 0.1);
}

TEST(LinearNote, MayKnowLittle) {
  TensorReport row;
  row.method = "rtn";
  row.nmse = NAN;
  TensorReport found;
  read_note(to_note(row), found);
  EXPECT_EQ(found.method, "rtn");
  EXPECT_FALSE(found.nmse);
  EXPECT_FALSE(found.calibrated);
  row.calibrated = CalibratedLinear{};
  read_note(to_note(row), found);
  ASSERT_TRUE(found.calibrated);
  EXPECT_EQ(found.calibrated->tokens, 0u);
  EXPECT_FALSE(found.calibrated->loss_before);
  EXPECT_FALSE(found.calibrated->damp_percent);
}

TEST(LinearNote, OfAnotherKindIsNotBelieved) {
  TensorReport found;
  read_note(parse_json(R"({"method":1,"nmse":"x","calibrated":[1]})", "note"), found);
  EXPECT_EQ(found.method, "");
  EXPECT_FALSE(found.nmse);
  read_note(parse_json(R"({"calibrated":{"tokens":-1,"scale_duo":3,"loss_after":"y"}})", "note"),
            found);
  EXPECT_EQ(found.calibrated->tokens, 0u);
  EXPECT_FALSE(found.calibrated->scale_duo);
  EXPECT_FALSE(found.calibrated->loss_after);
}

}  // namespace
}  // namespace qwodel
