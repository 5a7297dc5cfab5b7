// What Core ML checks when it loads a package, as far as it can be seen in the files.
//
// Sources: the validator and the MIL reader of coremltools 9.0, and what its issues report.
#pragma once

#include <string>
#include <vector>

#include "formats/mlpackage/package.h"

namespace qwodel {

struct LintFinding {
  std::string where;  // "input inputIds", "operation layer_0_scores"
  std::string found;
  std::string expected;
};

// Everything that Core ML would refuse; none for a good package.
std::vector<LintFinding> lint_package(const MlPackage& package);

// Throws ValidationError (verification_failed) with the first finding.
void require_clean(const MlPackage& package, const std::string& path);

}  // namespace qwodel
