// A GGUF's description: rotary factors have their values, everything else is a view of the file.
#include "models/gguf_model.h"

#include <gtest/gtest.h>

#include "tests/formats/gguf_builder.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

TEST(DescribeGguf, RotaryFactorsAreValues) {
  GgufBuilder builder;
  builder.header(2, 1).key("general.architecture", "llama");
  builder.tensor("rope_freqs.weight", {3}, 0, 0).tensor("output_norm.weight", {2}, 0, 32).align();
  builder.put(1.0f).put(2.5f).put(8.0f).align().put(1.0f).put(1.0f).align();
  const TempDirectory directory;

  const auto path = directory.write("model.gguf", builder.bytes());

  const auto checkpoint = open_checkpoint(path);
  const ModelSpec spec = describe_gguf(*checkpoint);
  ASSERT_EQ(spec.tensors.size(), 2u);
  EXPECT_EQ(spec.tensors[0].generated, (std::vector<float>{1.0f, 2.5f, 8.0f}));
  EXPECT_TRUE(spec.tensors[0].parts.empty());
  EXPECT_TRUE(spec.tensors[1].generated.empty());
  ASSERT_EQ(spec.tensors[1].parts.size(), 1u);
  EXPECT_EQ(spec.sources.at(spec.tensors[1].parts[0].source), "output_norm.weight");
}

}  // namespace
}  // namespace qwodel
