#include "calibrate/chat_messages.h"

#include <array>
#include <string_view>

#include "io/json.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// How a turn is written; "%" stands for the role. The first row whose markers both occur in the
// template is taken.
struct TurnFormat {
  std::string_view marker;
  std::string_view second_marker;
  std::string_view before_user;  // and before every role but the assistant
  std::string_view after_user;
  std::string_view before_assistant;
  std::string_view after_assistant;
  std::string_view assistant;  // what the role is called
};

constexpr std::array kFormats = {
    TurnFormat{"<|im_start|>", "", "<|im_start|>%\n", "<|im_end|>\n", "<|im_start|>%\n",
               "<|im_end|>\n", "assistant"},
    TurnFormat{"<|start_header_id|>", "", "<|start_header_id|>%<|end_header_id|>\n\n", "<|eot_id|>",
               "<|start_header_id|>%<|end_header_id|>\n\n", "<|eot_id|>", "assistant"},
    TurnFormat{"<start_of_turn>", "", "<start_of_turn>%\n", "<end_of_turn>\n", "<start_of_turn>%\n",
               "<end_of_turn>\n", "model"},
    TurnFormat{"<|user|>", "<|end|>", "<|%|>\n", "<|end|>\n", "<|%|>\n", "<|end|>\n", "assistant"},
    TurnFormat{"<|user|>", "", "<|%|>\n", "</s>\n", "<|%|>\n", "</s>\n", "assistant"},
    TurnFormat{"[INST]", "", "[INST] ", " [/INST]", " ", "</s>", "assistant"},
};
constexpr TurnFormat kPlain = {"", "", "%: ", "\n\n", "%: ", "\n\n", "assistant"};

const TurnFormat& find_format(const std::string& chat_template) {
  for (const TurnFormat& format : kFormats) {
    if (chat_template.find(format.marker) == std::string::npos) continue;
    if (chat_template.find(format.second_marker) == std::string::npos) continue;
    return format;
  }
  return kPlain;
}

std::string with_role(std::string_view pattern, std::string_view role) {
  std::string text(pattern);
  const std::size_t at = text.find('%');
  if (at != std::string::npos) text.replace(at, 1, role);
  return text;
}

std::string text_of(const Json& message, std::string_view key, const std::string& where) {
  const Json* member = find_member(message, key);
  if (member != nullptr && member->is_string()) return member->get<std::string>();
  throw ValidationError({.where = where,
                         .found = "a message without \"" + std::string(key) + "\"",
                         .expected = "{\"role\": \"user\", \"content\": \"...\"}",
                         .remedy = ""});
}

}  // namespace

ConversationText conversation_text(const Json& messages, const std::string& chat_template,
                                   const std::string& where) {
  const TurnFormat& format = find_format(chat_template);
  ConversationText result{.text = "", .has_special_tokens = !format.marker.empty()};
  for (const Json& message : messages) {
    const std::string role = text_of(message, "role", where);
    const bool is_assistant = role == "assistant";
    const std::string_view name = is_assistant ? format.assistant : std::string_view(role);
    result.text += with_role(is_assistant ? format.before_assistant : format.before_user, name);
    result.text += text_of(message, "content", where);
    result.text += is_assistant ? format.after_assistant : format.after_user;
  }
  return result;
}

}  // namespace qwodel
