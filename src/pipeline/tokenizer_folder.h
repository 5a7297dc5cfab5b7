// The files of a model that a program needs beside a package of its weights: its tokenizer, its
// configuration, its licence.
#pragma once

#include <filesystem>

#include "formats/checkpoint.h"

namespace qwodel {

// "NAME-tokenizer" for "NAME.mlpackage".
std::filesystem::path tokenizer_folder(const std::filesystem::path& package);

// Copies them into that folder, which appears complete or not at all; an older one is replaced when
// `replace` is set. Nothing for a .gguf, which has its tokenizer inside.
void write_tokenizer_folder(const Checkpoint& source, const std::filesystem::path& package,
                            bool replace);

}  // namespace qwodel
