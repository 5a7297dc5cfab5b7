// Conversations of a .jsonl as the text a model was trained on.
#pragma once

#include <string>

#include "io/json_fwd.h"

namespace qwodel {

struct ConversationText {
  std::string text;
  bool has_special_tokens = false;  // "<|im_start|>" in it is a token
};

// `messages` is an array of {"role", "content"}. The common families of templates (ChatML, Llama 2
// and 3, Gemma, Phi-3, Zephyr, Mistral) are told by their markers in `chat_template` and written
// out; nothing of Jinja is run. Any other template, or none, gives "role: content" lines. Throws
// ValidationError, which `where` begins, when a message has no role or no text.
ConversationText conversation_text(const Json& messages, const std::string& chat_template,
                                   const std::string& where);

}  // namespace qwodel
