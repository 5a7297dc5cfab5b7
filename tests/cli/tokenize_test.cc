// The verb tokenize: its output forms, its options, its refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/json.h"
#include "tests/cli/program.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

const std::string kModel = QWODEL_SOURCE_DIR "/models/stories260K";

class TokenizeVerb : public testing::Test {
 protected:
  ProgramResult run(const std::string& arguments) {
    return run_program(scratch_.path(), "tokenize " + arguments);
  }
  std::string file(const std::string& name, const std::string& text) {
    return scratch_.write(name, text).string();
  }

  TempDirectory scratch_;
};

TEST_F(TokenizeVerb, PrintsOneIdPerLineOrAnArray) {
  const std::string text = file("text", "Once upon a time");
  const ProgramResult lines = run(kModel + " --text " + text);
  EXPECT_EQ(lines.status, 0) << lines.err;
  const Json array = parse_json(run(kModel + " --json --text " + text).out, "stdout");
  std::string joined;
  for (const Json& id : array) joined += id.dump() + "\n";
  EXPECT_EQ(lines.out, joined);
  EXPECT_EQ(array[0], 1);
}

TEST_F(TokenizeVerb, SpecialTokensAreOptions) {
  const std::string text = file("text", "</s>");
  EXPECT_EQ(run(kModel + " --no-special --parse-special --text " + text).out, "2\n");
  EXPECT_EQ(run(kModel + " --parse-special --text " + text).out, "1\n2\n");
  EXPECT_THAT(run(kModel + " --text " + text).out, testing::Not(testing::HasSubstr("\n2\n")));
}

TEST_F(TokenizeVerb, DecodesWhatItPrinted) {
  const std::string story = "Once upon a time, \u4E2D\n there was  a girl.";
  const std::string ids = file("ids", run(kModel + " --text " + file("text", story)).out);
  EXPECT_EQ(run(kModel + " --skip-special --decode " + ids).out, story);
  EXPECT_EQ(run(kModel + " --decode " + file("array", "[1, 2]")).out, "<s></s>");
}

TEST_F(TokenizeVerb, AnArtifactHasItsTokenizerInIt) {
  const std::string artifact = (scratch_ / "a.gguf").string();
  ASSERT_EQ(
      run_program(scratch_.path(), "quantize " + kModel + " --to gguf:Q8_0 -o " + artifact).status,
      0);
  const std::string text = file("text", "One day, Lily met a Shoggoth.\n\n  <s> 123 \u00E9");
  EXPECT_EQ(run(artifact + " --text " + text).out, run(kModel + " --text " + text).out);
}

TEST_F(TokenizeVerb, RefusesWithTheRightStatus) {
  const std::string text = file("text", "x");
  EXPECT_EQ(run(kModel).status, 2);
  EXPECT_EQ(run(kModel + " --text /nowhere").status, 1);
  EXPECT_EQ(run(scratch_.path().string() + " --text " + text).status, 3);
  EXPECT_EQ(run(kModel + " --decode " + file("high", "1 512")).status, 1);
  EXPECT_EQ(run(kModel + " --decode " + file("words", "one two")).status, 1);
}

}  // namespace
}  // namespace qwodel
