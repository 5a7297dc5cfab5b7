#include "io/json.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "io/mapped_file.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::size_t kMaxDepth = 128;

// Builds the document from the parser's events. nlohmann/json's own builder keeps the last of two
// equal keys and nests without limit, and its filtering callback takes quadratic time.
class StrictBuilder {
 public:
  explicit StrictBuilder(const std::string& source) : source_(source) {}

  Json take() { return std::move(root_); }

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(Json::number_integer_t value) { return add(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return add(value); }
  bool number_float(Json::number_float_t value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Json::binary_t& value) { return add(std::move(value)); }

  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    auto& members = open_.back()->get_ref<Json::object_t&>();
    const auto [member, added] = members.emplace(std::move(name), nullptr);
    if (!added) {
      throw ValidationError({.where = source_,
                             .found = fmt::format("key \"{}\" twice in one object", member->first),
                             .expected = "unique keys",
                             .remedy = ""});
    }
    member_ = &member->second;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const Json::exception& error) {
    throw ValidationError({.where = source_,
                           .found = fmt::format("invalid JSON ({})", error.what()),
                           .expected = "a JSON document",
                           .remedy = ""});
  }

 private:
  // Puts a value where the document goes on, and returns its place.
  template <class T>
  Json* place(T&& value) {
    if (open_.empty()) {
      root_ = std::forward<T>(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      return &open_.back()->get_ref<Json::array_t&>().emplace_back(std::forward<T>(value));
    }
    *member_ = std::forward<T>(value);
    return member_;
  }

  template <class T>
  bool add(T&& value) {
    place(std::forward<T>(value));
    return true;
  }

  // A container grows only while it is the innermost open one, so the pointers stay valid.
  bool open(Json container) {
    if (open_.size() == kMaxDepth) {
      throw ValidationError({.where = source_,
                             .found = fmt::format("JSON nested deeper than {}", kMaxDepth),
                             .expected = "a flatter document",
                             .remedy = ""});
    }
    open_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& source_;
  Json root_;
  std::vector<Json*> open_;
  Json* member_ = nullptr;  // of the innermost open object: where its next value goes
};

}  // namespace

Json parse_json(std::string_view text, const std::string& source) {
  StrictBuilder builder(source);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
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
