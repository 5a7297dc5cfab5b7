// Looking at a Core ML package: inspect and verify for it.
#pragma once

#include <filesystem>

#include "qwodel/inspect.h"

namespace qwodel {

Inspection inspect_mlpackage(const std::filesystem::path& path);

// Structure, Core ML's rules, and that all halves are finite. Throws FormatNotSupportedError when
// there is a source: values are not compared yet.
VerifyReport verify_mlpackage(const VerifyOptions& options);

}  // namespace qwodel
