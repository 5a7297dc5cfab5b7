#include "tokenizer/chat_template.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/mapped_file.h"
#include "qwodel/error.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

std::string read_text(const std::filesystem::path& path) {
  const MappedFile file(path);
  std::string text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  if (!is_utf8(text)) {
    throw ValidationError({.where = path.string(),
                           .found = "bytes that are not UTF-8",
                           .expected = "a template",
                           .remedy = ""});
  }
  // Python reads text with universal newlines.
  return replace_all(replace_all(text, "\r\n", "\n"), "\r", "\n");
}

std::string key_part(std::string_view name) {
  // Per code point, not per byte: one replacement for each character.
  std::string result;
  for (std::string_view rest = name; !rest.empty();) {
    const CodePoint point = first_code_point(rest);
    const char c = rest.front();
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    result += plain ? c : '_';
    rest.remove_prefix(std::max<std::size_t>(point.size, 1));
  }
  return result;
}

void put(ChatTemplates& templates, const std::string& name, std::string text) {
  if (name.empty()) return;
  if (name == "default") {
    templates.main = std::move(text);
    return;
  }
  for (auto& [known, value] : templates.named) {
    if (known == name) {
      value = std::move(text);
      return;
    }
  }
  templates.named.emplace_back(name, std::move(text));
}

ChatTemplates from_json(const Json& value) {
  ChatTemplates templates;
  if (value.is_string()) templates.main = value.get<std::string>();
  if (!value.is_array()) return templates;
  for (const Json& choice : value) {
    const Json* name = find_member(choice, "name");
    const Json* text = find_member(choice, "template");
    if (name == nullptr || !name->is_string() || text == nullptr || !text->is_string()) continue;
    put(templates, key_part(name->get<std::string>()), text->get<std::string>());
  }
  return templates;
}

ChatTemplates from_jinja(const TokenizerFiles& files) {
  ChatTemplates templates;
  templates.main = read_text(files.directory / "chat_template.jinja");
  const auto folder = files.directory / "additional_chat_templates";
  if (!std::filesystem::is_directory(folder)) return templates;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".jinja") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    put(templates, key_part(path.stem().string()), read_text(path));
  }
  return templates;
}

}  // namespace

ChatTemplates find_chat_templates(const TokenizerFiles& files) {
  if (files.tokenizer_config.empty()) return {};
  if (const Json* value = find_member(files.tokenizer_config, "chat_template")) {
    return from_json(*value);
  }
  if (files.has("chat_template.jinja")) return from_jinja(files);
  const Json file = read_optional_object(files.directory / "chat_template.json");
  const Json* value = find_member(file, "chat_template");
  return value != nullptr ? from_json(*value) : ChatTemplates{};
}

void add_chat_templates(const ChatTemplates& templates, GgufMetadata& metadata) {
  std::vector<std::string> names;
  for (const auto& [name, text] : templates.named) {
    names.push_back(name);
    if (!text.empty()) metadata.set_string("tokenizer.chat_template." + name, text);
  }
  if (!names.empty()) metadata.set_array("tokenizer.chat_templates", std::move(names));
  if (templates.main && !templates.main->empty()) {
    metadata.set_string("tokenizer.chat_template", *templates.main);
  }
}

}  // namespace qwodel
