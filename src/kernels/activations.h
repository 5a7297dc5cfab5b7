// Elementwise functions of neural networks on arrays. In and out may be the same array.
#pragma once

#include <cstddef>

namespace qwodel {

void silu(const float* in, std::size_t count, float* out);       // x / (1 + e^-x)
void gelu_tanh(const float* in, std::size_t count, float* out);  // the tanh approximation
void gelu_erf(const float* in, std::size_t count, float* out);   // x (1 + erf(x / sqrt 2)) / 2
void relu(const float* in, std::size_t count, float* out);
void sigmoid(const float* in, std::size_t count, float* out);
void hyperbolic_tangent(const float* in, std::size_t count, float* out);

// cap tanh(x / cap).
void softcap(const float* in, std::size_t count, float cap, float* out);

// Writes e^(x - shift) and returns the sum.
float exp_minus(const float* in, std::size_t count, float shift, float* out);

}  // namespace qwodel
