#include "kernels/dispatch.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hwy/highway.h>
#include <hwy/targets.h>

#include <cctype>
#include <cstdlib>
#include <mutex>

#include "qwodel/error.h"

namespace qwodel {
namespace {

// HWY_TARGETS is what this build compiles kernels for. Asked once, before any restriction.
const std::vector<std::int64_t>& runnable_targets() {
  static const std::vector<std::int64_t> targets = [] {
    std::vector<std::int64_t> found;
    const std::int64_t available = hwy::SupportedTargets() & HWY_TARGETS;
    for (int bit = 0; bit < 63; ++bit) {
      if (available >> bit & 1) found.push_back(std::int64_t{1} << bit);
    }
    return found;
  }();
  return targets;
}

std::string upper_case(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

std::vector<std::string> kernel_targets() {
  std::vector<std::string> names;
  for (const std::int64_t target : runnable_targets()) names.emplace_back(hwy::TargetName(target));
  return names;
}

std::string current_kernel_target() {
  prepare_kernels();
  const std::int64_t available = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(available & -available);  // the lowest bit is the best target
}

void use_kernel_target(const std::string& name) {
  std::int64_t chosen = 0;
  for (const std::int64_t target : runnable_targets()) {
    if (upper_case(name) == upper_case(hwy::TargetName(target))) chosen = target;
  }
  if (!name.empty() && chosen == 0) {
    throw ValidationError({.where = "QWODEL_KERNELS",
                           .found = name,
                           .expected = fmt::format("one of {}", fmt::join(kernel_targets(), ", ")),
                           .remedy = ""});
  }
  hwy::SetSupportedTargetsForTest(chosen);
  hwy::GetChosenTarget().Update(chosen == 0 ? hwy::SupportedTargets() : chosen);
}

void prepare_kernels() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (const char* name = std::getenv("QWODEL_KERNELS")) use_kernel_target(name);
  });
}

}  // namespace qwodel
