#include "qwodel/error.h"

namespace qwodel {

std::string to_sentence(const Problem& problem) {
  std::string text = problem.where;
  const auto append = [&text](std::string_view separator, std::string_view lead,
                              const std::string& part) {
    if (part.empty()) return;
    if (!text.empty()) text += separator;
    text += lead;
    text += part;
  };
  append(": ", "found ", problem.found);
  append(problem.found.empty() ? ": " : ", ", "expected ", problem.expected);
  append("; ", "", problem.remedy);
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';  // one line, whatever a file put into a name
  }
  return text;
}

Error::Error(ErrorCode code, const Problem& problem)
    : std::runtime_error(to_sentence(problem)), code_(code), remedy_(problem.remedy) {}

}  // namespace qwodel
