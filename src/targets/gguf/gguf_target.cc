#include "targets/gguf/gguf_target.h"

#include "qwodel/error.h"

namespace qwodel {

std::vector<Format> gguf_formats() {
  std::vector<Format> all;
  for (const FileTypeInfo& type : file_types()) {
    all.push_back({std::string(type.name), std::string(type.summary),
                   info(type.default_type).bits_per_weight()});
  }
  return all;
}

Target parse_gguf_format(const std::string& format) {
  const auto file_type = file_type_from_name(format);
  if (!file_type) refuse_format(format, "a GGUF type such as Q4_K_M");
  if (*file_type == FileType::nvfp4) {
    throw FormatNotSupportedError(
        {.where = "--to",
         .found = "gguf:NVFP4",
         .expected = "another file type: llama.cpp refuses NVFP4 for whole files",
         .remedy = "use a --tensor-type REGEX=NVFP4 override within another type"});
  }
  return {.backend = {},
          .name = std::string(info(*file_type).name),
          .file_type = *file_type,
          .linears = std::nullopt};
}

}  // namespace qwodel
