// Chat templates of a model: Jinja texts, one without a name and any number with one.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/gguf_value.h"
#include "tokenizer/tokenizer_files.h"

namespace qwodel {

struct ChatTemplates {
  std::optional<std::string> main;
  std::vector<std::pair<std::string, std::string>> named;  // name and text
};

// From tokenizer_config.json (a text, or a list of {"name", "template"}); without "chat_template"
// there, from chat_template.jinja with additional_chat_templates/*.jinja, or chat_template.json.
// Names keep ASCII letters and digits, other characters become '_'. A directory without
// tokenizer_config.json has no templates, as for llama.cpp's converter.
ChatTemplates find_chat_templates(const TokenizerFiles& files);

// tokenizer.chat_template.NAME, tokenizer.chat_templates (the names), tokenizer.chat_template.
void add_chat_templates(const ChatTemplates& templates, GgufMetadata& metadata);

}  // namespace qwodel
