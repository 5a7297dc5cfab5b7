#include "methods/block_feedback.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "codecs/codec.h"
#include "core/half.h"
#include "kernels/dispatch.h"
#include "qwodel/error.h"
#include "tests/methods/gptq_problem.h"

namespace qwodel {
namespace {

std::vector<std::byte> encode(const GptqProblem& problem, const Codec& codec,
                              const BlockFeedbackOptions& options = {}) {
  std::vector<std::byte> bytes(*bytes_of(codec.type, problem.rows * problem.cols));
  const BlockHessian hessian = make_block_hessian(problem.gram_view(), options, "x");
  feed_back_blocks(problem.weight_view(), hessian, *codec.scalar, options, bytes.data());
  return bytes;
}

std::vector<float> decode(const std::vector<std::byte>& bytes, const Codec& codec,
                          std::size_t count) {
  std::vector<float> values(count);
  codec.decode(bytes.data(), count, values.data());
  return values;
}

double loss(const GptqProblem& problem, const std::vector<float>& decoded) {
  return quadratic_error(problem.weight_view(), {decoded.data(), problem.rows, problem.cols},
                         problem.gram_view());
}

// What the codec does by itself with the diagonal for importance.
std::vector<float> plain(const GptqProblem& problem, const Codec& codec) {
  std::vector<float> importance;
  for (std::size_t i = 0; i < problem.cols; ++i) {
    importance.push_back(problem.gram[i * (problem.cols + 1)]);
  }
  std::vector<std::byte> bytes(*bytes_of(codec.type, problem.rows * problem.cols));
  codec.encode(problem.weights.data(), problem.rows, problem.cols, importance.data(), bytes.data());
  return decode(bytes, codec, problem.weights.size());
}

class BlockFeedback : public testing::TestWithParam<TensorType> {
 protected:
  const Codec& codec() const { return *find_codec(GetParam()); }
};

TEST_P(BlockFeedback, LosesLessThanThePlainEncoding) {
  const GptqProblem problem = make_gptq_problem(70, 512, 1024, 1);
  const double before = loss(problem, plain(problem, codec()));
  BlockFeedbackOptions options;
  options.sweeps = 0;
  const auto fed_back = decode(encode(problem, codec(), options), codec(), 70 * 512);
  const auto descended = decode(encode(problem, codec()), codec(), 70 * 512);
  EXPECT_LT(loss(problem, fed_back), 0.95 * before);
  EXPECT_LT(loss(problem, descended), 0.97 * loss(problem, fed_back));
  // What earlier and later columns leave of a column's variance is 1 - 0.8^2; better scales do not
  // halve the rest.
  EXPECT_GT(loss(problem, descended), 0.5 * 0.36 * before);
}

TEST_P(BlockFeedback, WithoutCorrelationIsNoWorseThanThePlainEncoding) {
  GptqProblem problem = make_gptq_problem(32, 256, 512, 2);
  std::ranges::fill(problem.gram, 0.0f);
  for (std::size_t i = 0; i < 256; ++i) problem.gram[i * 257] = 1;
  EXPECT_LE(loss(problem, decode(encode(problem, codec()), codec(), 32 * 256)),
            loss(problem, plain(problem, codec())));
}

TEST_P(BlockFeedback, RowsDoNotDependOnEachOther) {
  const GptqProblem problem = make_gptq_problem(70, 256, 512, 3);
  const auto all = encode(problem, codec());
  GptqProblem some = problem;
  some.weights.assign(problem.weights.begin() + 40 * 256, problem.weights.end());
  some.rows = 30;
  const auto part = encode(some, codec());
  const std::size_t offset = all.size() - part.size();
  EXPECT_TRUE(
      std::equal(part.begin(), part.end(), all.begin() + static_cast<std::ptrdiff_t>(offset)));
}

TEST_P(BlockFeedback, AllTargetsGiveTheSameBytes) {
  const GptqProblem problem = make_gptq_problem(20, 512, 1024, 4);
  const auto expected = encode(problem, codec());
  for (const std::string& target : kernel_targets()) {
    use_kernel_target(target);
    EXPECT_EQ(encode(problem, codec()), expected) << target;
  }
  use_kernel_target("");
}

// Columns that are never seen, a row of zeros, and one that is constant.
TEST_P(BlockFeedback, DeadColumnsAndFlatRowsAreHarmless) {
  GptqProblem problem = make_gptq_problem(3, 512, 1024, 5);
  for (std::size_t c = 200; c < 330; ++c) {
    for (std::size_t i = 0; i < 512; ++i) {
      problem.gram[c * 512 + i] = problem.gram[i * 512 + c] = 0;
    }
  }
  std::fill_n(problem.weights.begin(), 512, 0.0f);
  std::fill_n(problem.weights.begin() + 512, 512, 0.01f);
  const auto decoded = decode(encode(problem, codec()), codec(), 3 * 512);
  const auto reference = plain(problem, codec());
  for (std::size_t i = 0; i < 512; ++i) EXPECT_EQ(decoded[i], 0.0f);
  double error = 0, expected = 0;
  for (std::size_t i = 1024; i < 1536; ++i) {
    ASSERT_TRUE(std::isfinite(decoded[i]));
    if (i % 512 < 224 || i % 512 >= 320) continue;  // whole groups of dead columns
    error += std::pow(decoded[i] - problem.weights[i], 2);
    expected += std::pow(reference[i] - problem.weights[i], 2);
  }
  // Their weights are kept all the same: other text may use them. With block scales that are made
  // for the others.
  EXPECT_LT(error, 4 * expected + 1e-12);
  EXPECT_LE(loss(problem, decoded), loss(problem, reference) * 1.0001);
}

INSTANTIATE_TEST_SUITE_P(Types, BlockFeedback,
                         testing::Values(TensorType::q2_k, TensorType::q3_k, TensorType::q4_k,
                                         TensorType::q5_k, TensorType::q6_k, TensorType::q4_0,
                                         TensorType::q4_1, TensorType::q5_0, TensorType::q5_1,
                                         TensorType::iq4_nl, TensorType::iq4_xs),
                         [](const auto& test) {
                           return std::string(qwodel::info(test.param).name);
                         });

float scale_of(const std::byte* block) {
  std::uint16_t half;
  std::memcpy(&half, block, sizeof half);
  return half_to_float(half);
}

// Babai's nearest plane: every column is the nearest value to where the columns before it, decoded,
// leave the optimum, which is found here by solving for the free columns.
TEST(BlockFeedbackQ40, RoundsTheOptimumOfTheFreeColumns) {
  const GptqProblem problem = make_gptq_problem(2, 32, 64, 6);
  const Codec& codec = *find_codec(TensorType::q4_0);
  BlockFeedbackOptions options;
  options.sweeps = 0;
  const BlockHessian hessian = make_block_hessian(problem.gram_view(), options, "x");
  const auto bytes = encode(problem, codec, options);
  const auto decoded = decode(bytes, codec, 64);
  for (std::size_t r = 0; r < 2; ++r) {
    const double scale = static_cast<double>(scale_of(bytes.data() + 18 * r));
    const float* w = problem.weights.data() + r * 32;
    const float* q = decoded.data() + r * 32;
    for (std::size_t i = 0; i < 32; ++i) {
      // H_ff (w_f - x) = -H_fd (w_d - q_d) for the free columns f = i ... 31, by elimination.
      const std::size_t n = 32 - i;
      std::vector<double> a(n * (n + 1));
      for (std::size_t y = 0; y < n; ++y) {
        for (std::size_t x = 0; x < n; ++x) {
          double h = static_cast<double>(problem.gram[(i + y) * 32 + i + x]);
          if (x == y) h *= 1 + options.feedback_damp;
          a[y * (n + 1) + x] = h;
        }
        for (std::size_t j = 0; j < i; ++j) {
          a[y * (n + 1) + n] -= static_cast<double>(problem.gram[(i + y) * 32 + j]) *
                                static_cast<double>(w[j] - q[j]);
        }
      }
      for (std::size_t p = n; p-- > 1;) {
        for (std::size_t y = 0; y < p; ++y) {
          const double factor = a[y * (n + 1) + p] / a[p * (n + 1) + p];
          for (std::size_t x = 0; x <= n; ++x) {
            a[y * (n + 1) + x] -= factor * a[p * (n + 1) + x];
          }
        }
      }
      const double wanted = static_cast<double>(w[i]) - a[n] / a[0];
      double nearest = 1;
      for (int level = -8; level < 8; ++level) {
        nearest = std::min(nearest, std::abs(scale * level - wanted));
      }
      EXPECT_NEAR(std::abs(static_cast<double>(q[i]) - wanted), nearest, 1e-5) << r << ' ' << i;
    }
  }
}

TEST(BlockFeedbackQ40, NoSingleCodeCanBeChangedForTheBetter) {
  GptqProblem problem = make_gptq_problem(4, 64, 128, 7);
  const Codec& codec = *find_codec(TensorType::q4_0);
  BlockFeedbackOptions options;
  options.descent_damp = 0;
  options.sweeps = 20;
  const auto bytes = encode(problem, codec, options);
  const auto decoded = decode(bytes, codec, 256);
  for (std::size_t r = 0; r < 4; ++r) {
    GptqProblem row{1, 64, {}, problem.gram};
    const auto first = static_cast<std::ptrdiff_t>(64 * r);
    row.weights.assign(problem.weights.begin() + first, problem.weights.begin() + first + 64);
    std::vector<float> values(decoded.begin() + first, decoded.begin() + first + 64);
    const double best = loss(row, values);
    for (std::size_t i = 0; i < 64; ++i) {
      const float kept = values[i];
      const float scale = scale_of(bytes.data() + 18 * (2 * r + i / 32));
      for (int level = -8; level < 8; ++level) {
        values[i] = scale * static_cast<float>(level);
        EXPECT_GE(loss(row, values), best * (1 - 1e-5)) << r << ' ' << i;
      }
      values[i] = kept;
    }
  }
}

TEST(BlockHessian, RefusesMomentsThatAreNotFinite) {
  GptqProblem problem = make_gptq_problem(1, 32, 64, 8);
  problem.gram[33] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(make_block_hessian(problem.gram_view(), {}, "x"), QuantizationError);
}

}  // namespace
}  // namespace qwodel
