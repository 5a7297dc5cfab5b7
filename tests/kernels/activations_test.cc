// Activations and row kernels against the C library in double precision, on every target and for
// lengths that leave parts of vectors.
#include "kernels/activations.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/row_ops.h"

namespace qwodel {
namespace {

struct Case {
  const char* name;
  void (*kernel)(const float*, std::size_t, float*);
  double (*reference)(double);
  double relative;  // of the result
};

double silu_of(double x) { return x / (1 + std::exp(-x)); }
double gelu_erf_of(double x) { return 0.5 * x * std::erfc(-x * std::sqrt(0.5)); }
double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }
double tanh_of(double x) { return std::tanh(x); }
double gelu_tanh_of(double x) {
  return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

TEST(Activations, AreCloseToTheCLibraryOnEveryTarget) {
  // The exponents of gelu_* and of silu amplify the rounding of their argument.
  const Case cases[] = {{"silu", silu, silu_of, 4e-7},
                        {"sigmoid", sigmoid, sigmoid_of, 4e-7},
                        {"tanh", hyperbolic_tangent, tanh_of, 4e-7},
                        {"gelu_erf", gelu_erf, gelu_erf_of, 2e-5},
                        {"gelu_tanh", gelu_tanh, gelu_tanh_of, 2e-5}};
  std::vector<float> in;
  for (float x = -9.0f; x < 9.0f; x += 0.0037f) in.push_back(x);
  ASSERT_NE(in.size() % 16, 0u);
  for (const std::string& target : kernel_targets()) {
    use_kernel_target(target);
    for (const Case& c : cases) {
      std::vector<float> out(in.size());
      c.kernel(in.data(), in.size(), out.data());
      for (std::size_t i = 0; i < in.size(); ++i) {
        const double want = c.reference(static_cast<double>(in[i]));
        ASSERT_NEAR(out[i], want, c.relative * std::abs(want) + 1e-30)
            << c.name << " of " << in[i] << " on " << target;
      }
    }
  }
  use_kernel_target("");
}

TEST(Activations, ExponentialsAreWithinTwoUlp) {
  std::vector<float> in;
  for (float x = -87.0f; x < 0.0f; x += 0.00731f) in.push_back(x);
  for (const std::string& target : kernel_targets()) {
    use_kernel_target(target);
    std::vector<float> out(in.size());
    const float sum = exp_minus(in.data(), in.size(), 0.0f, out.data());
    double want_sum = 0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const double want = std::exp(static_cast<double>(in[i]));
      want_sum += want;
      ASSERT_NEAR(out[i], want, 2.4e-7 * want) << in[i] << " on " << target;
    }
    EXPECT_NEAR(sum, want_sum, 1e-5 * want_sum);
    const float far[] = {-1000.0f, -INFINITY, 0.0f};
    float powers[3];
    exp_minus(far, 3, 0.0f, powers);
    EXPECT_EQ(powers[0], 0.0f);
    EXPECT_EQ(powers[1], 0.0f);
    EXPECT_EQ(powers[2], 1.0f);
  }
  use_kernel_target("");
}

TEST(RowOps, NormsAndDotMatchDoublePrecision) {
  for (const std::string& target : kernel_targets()) {
    use_kernel_target(target);
    for (const std::size_t count : {1u, 7u, 16u, 37u, 768u}) {
      std::vector<float> in(count);
      std::vector<float> weight(count);
      std::vector<float> out(count);
      double squares = 0;
      double product = 0;
      for (std::size_t i = 0; i < count; ++i) {
        in[i] = std::sin(static_cast<float>(i) * 0.37f) + 0.2f;
        weight[i] = 1.0f + 0.01f * static_cast<float>(i);
        squares += static_cast<double>(in[i]) * in[i];
        product += static_cast<double>(in[i]) * weight[i];
      }
      rms_norm(in.data(), count, 1e-5f, weight.data(), nullptr, out.data());
      const double factor = 1 / std::sqrt(squares / static_cast<double>(count) + 1e-5);
      for (std::size_t i = 0; i < count; ++i) {
        ASSERT_NEAR(out[i], in[i] * factor * weight[i], 2e-6 * std::abs(out[i]) + 1e-30) << target;
      }
      EXPECT_NEAR(dot(in.data(), weight.data(), count), product, 1e-5 * squares + 1e-6) << target;
    }
  }
  use_kernel_target("");
}

}  // namespace
}  // namespace qwodel
