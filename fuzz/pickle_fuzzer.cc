// The pickle machine by itself, without the archive around it.
#include "formats/pickle.h"

#include <array>

#include "fuzz/memory_file.h"

namespace {

constexpr std::array<qwodel::PickleGlobal, 3> kAllowed = {{
    {"collections", "OrderedDict", true},
    {"torch._utils", "_rebuild_tensor_v2", false},
    {"torch", "FloatStorage", false},
}};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return qwodel::fuzz([&] {
    const auto bytes = std::as_bytes(std::span(data, size));
    const qwodel::Pickle pickle(bytes, kAllowed, "fuzz");
    if (pickle[pickle.root()].kind == qwodel::PickleValue::Kind::global &&
        static_cast<std::size_t>(pickle[pickle.root()].integer) >= kAllowed.size()) {
      std::abort();
    }
  });
}
