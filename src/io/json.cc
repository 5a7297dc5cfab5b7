#include "io/json.h"

#include <fmt/format.h>

#include <unordered_set>
#include <vector>

#include "io/mapped_file.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr int kMaxDepth = 128;

// nlohmann/json keeps the last of two equal keys and recurses without limit in destructors; this
// callback sees every key and level while parsing and refuses both.
class StrictChecks {
 public:
  explicit StrictChecks(const std::string& source) : source_(source) {}

  bool operator()(int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMaxDepth) {
      throw ValidationError({.where = source_,
                             .found = "JSON nested deeper than " + std::to_string(kMaxDepth),
                             .expected = "a flatter document",
                             .remedy = ""});
    }
    if (event == Json::parse_event_t::object_start) keys_.emplace_back();
    if (event == Json::parse_event_t::object_end) keys_.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        throw ValidationError({.where = source_,
                               .found = fmt::format("key \"{}\" twice in one object", key),
                               .expected = "unique keys",
                               .remedy = ""});
      }
    }
    return true;
  }

 private:
  const std::string& source_;
  std::vector<std::unordered_set<std::string>> keys_;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& source) {
  try {
    return Json::parse(text.begin(), text.end(), StrictChecks(source));
  } catch (const Json::exception& error) {
    throw ValidationError({.where = source,
                           .found = fmt::format("invalid JSON ({})", error.what()),
                           .expected = "a JSON document",
                           .remedy = ""});
  }
}

Json read_json(const std::filesystem::path& path, std::size_t max_bytes) {
  const MappedFile file(path);
  if (file.bytes().size() > max_bytes) {
    throw ValidationError({.where = path.string(),
                           .found = fmt::format("{} bytes", file.bytes().size()),
                           .expected = fmt::format("at most {}", max_bytes),
                           .remedy = ""});
  }
  const auto bytes = file.bytes();
  return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

const Json* find_member(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto member = object.find(std::string(key));
  return member == object.end() ? nullptr : &*member;
}

}  // namespace qwodel
