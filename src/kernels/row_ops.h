// Loops over rows of activations. In and out may be the same array unless said otherwise.
#pragma once

#include <cstddef>

namespace qwodel {

// out = x / sqrt(mean(x^2) + epsilon) * weight + bias; weight and bias may be null.
void rms_norm(const float* in, std::size_t count, float epsilon, const float* weight,
              const float* bias, float* out);

// out = (x - mean) / sqrt(variance + epsilon) * weight + bias; weight and bias may be null.
void layer_norm(const float* in, std::size_t count, float epsilon, const float* weight,
                const float* bias, float* out);

void add(const float* a, const float* b, std::size_t count, float* out);
void multiply(const float* a, const float* b, std::size_t count, float* out);
void add_scalar(const float* in, std::size_t count, float value, float* out);
void scale(const float* in, std::size_t count, float factor, float* out);
void clamp(const float* in, std::size_t count, float limit, float* out);  // to [-limit, limit]

// out += factor * in.
void add_scaled(const float* in, std::size_t count, float factor, float* out);

float dot(const float* a, const float* b, std::size_t count);

// The largest value; -infinity of none.
float largest(const float* in, std::size_t count);

// Rotates pairs (x[i], x[pairs + i]) by the angle with cosine c[i] and sine s[i].
void rotate_halves(const float* in, std::size_t pairs, const float* c, const float* s, float* out);

// Rotates pairs (x[2i], x[2i + 1]).
void rotate_interleaved(const float* in, std::size_t pairs, const float* c, const float* s,
                        float* out);

}  // namespace qwodel
