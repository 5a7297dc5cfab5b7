// What one core multiplies when everything is in registers, in GFLOP/s: the bound of any product.
#pragma once

namespace qwodel {

// Of the fused multiply-add, and of VDPBF16PS; 0 where the processor has none (or is no x86).
double register_peak_f32();
double register_peak_bf16();

}  // namespace qwodel
