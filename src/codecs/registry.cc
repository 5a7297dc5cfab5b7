// The list of codecs. A new one: declare it here and add its row.
#include <algorithm>
#include <array>

#include "codecs/codec.h"

namespace qwodel {

extern const Codec codec_f32;
extern const Codec codec_f16;
extern const Codec codec_bf16;
extern const Codec codec_q4_0;
extern const Codec codec_q4_1;
extern const Codec codec_q5_0;
extern const Codec codec_q5_1;
extern const Codec codec_q8_0;
extern const Codec codec_q2_k;
extern const Codec codec_q3_k;
extern const Codec codec_q4_k;
extern const Codec codec_q5_k;
extern const Codec codec_q6_k;
extern const Codec codec_iq2_xxs;
extern const Codec codec_iq2_xs;
extern const Codec codec_iq2_s;
extern const Codec codec_iq3_xxs;
extern const Codec codec_iq3_s;
extern const Codec codec_iq1_s;
extern const Codec codec_iq1_m;
extern const Codec codec_iq4_nl;
extern const Codec codec_iq4_xs;
extern const Codec codec_tq1_0;
extern const Codec codec_tq2_0;
extern const Codec codec_mxfp4;
extern const Codec codec_nvfp4;
extern const Codec codec_q1_0;
extern const Codec codec_q2_0;

namespace {

// clang-format off: one row per codec.
constexpr std::array kCodecs = {
    &codec_f32,
    &codec_f16,
    &codec_bf16,
    &codec_q4_0,
    &codec_q4_1,
    &codec_q5_0,
    &codec_q5_1,
    &codec_q8_0,
    &codec_q2_k,
    &codec_q3_k,
    &codec_q4_k,
    &codec_q5_k,
    &codec_q6_k,
    &codec_iq2_xxs,
    &codec_iq2_xs,
    &codec_iq2_s,
    &codec_iq3_xxs,
    &codec_iq3_s,
    &codec_iq1_s,
    &codec_iq1_m,
    &codec_iq4_nl,
    &codec_iq4_xs,
    &codec_tq1_0,
    &codec_tq2_0,
    &codec_mxfp4,
    &codec_nvfp4,
    &codec_q1_0,
    &codec_q2_0,
};
// clang-format on

}  // namespace

std::span<const Codec* const> codecs() { return kCodecs; }

const Codec* find_codec(TensorType type) {
  const auto codec = std::find_if(kCodecs.begin(), kCodecs.end(),
                                  [type](const Codec* row) { return row->type == type; });
  return codec == kCodecs.end() ? nullptr : *codec;
}

}  // namespace qwodel
