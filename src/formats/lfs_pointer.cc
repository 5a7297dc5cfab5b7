#include "formats/lfs_pointer.h"

#include <string_view>

#include "qwodel/error.h"

namespace qwodel {

void refuse_lfs_pointer(const MappedFile& file) {
  // First line of a pointer: Git LFS specification, "The Pointer".
  constexpr std::string_view kStart = "version https://git-lfs.github.com/spec/";
  const auto bytes = file.bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kStart)) return;
  throw ValidationError({.where = file.path().string(),
                         .found = "a Git LFS pointer",
                         .expected = "the file it stands for",
                         .remedy = "run `git lfs pull` in the model directory"});
}

}  // namespace qwodel
