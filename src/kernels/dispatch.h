// Which instruction set the kernels run on.
//
// Every kernel is one Highway source compiled for several targets; calls go to the best one this
// machine has. HWY_SCALAR (one lane) is among them and is the definition of correct.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace qwodel {

// Names of the targets compiled in that this machine can run, best first ("AVX3", ..., "SCALAR").
std::vector<std::string> kernel_targets();

// The target in use.
std::string current_kernel_target();

// Restricts kernels to one target, or lifts the restriction with an empty name. The environment
// variable QWODEL_KERNELS does the same at the first call into any kernel. Throws ValidationError
// for a name not in kernel_targets(). Not thread-safe: call it while no kernel runs.
void use_kernel_target(const std::string& name);

// Called by kernel wrappers before their first dispatch; applies QWODEL_KERNELS once.
void prepare_kernels();

}  // namespace qwodel
