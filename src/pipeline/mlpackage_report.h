// Looking at a Core ML package: inspect and verify for it (mlpackage_verify.cc).
#pragma once

#include <filesystem>

#include "qwodel/inspect.h"

namespace qwodel {

Inspection inspect_mlpackage(const std::filesystem::path& path);

// Structure, Core ML's rules, and that every weight decodes to finite values; with a source, that
// its weights are there and how far they are from it.
VerifyReport verify_mlpackage(const VerifyOptions& options);

}  // namespace qwodel
