#include <thread>

#include "kernels/dispatch.h"
#include "qwodel/formats.h"
#include "targets/target.h"

namespace qwodel {

std::vector<BackendInfo> list_backends() {
  std::vector<BackendInfo> all;
  for (const Backend& backend : backends()) {
    all.push_back({std::string(backend.name), std::string(backend.runtimes),
                   std::string(backend.planned), backend.available()});
  }
  return all;
}

std::vector<FormatInfo> list_formats(const std::string& backend) {
  std::vector<FormatInfo> all;
  for (Format& format : formats(backend)) {
    all.push_back({std::move(format.name), std::move(format.summary), format.bits_per_weight});
  }
  return all;
}

CheckReport check() {
  return {.version = QWODEL_VERSION,
          .kernel_target = current_kernel_target(),
          .kernel_targets = kernel_targets(),
          .cores = static_cast<int>(std::thread::hardware_concurrency())};
}

}  // namespace qwodel
