#include "models/general_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "io/json.h"
#include "models/model_card.h"
#include "models/model_id.h"
#include "qwodel/error.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

// A base model or a data set: general.base_model.N.*, general.dataset.N.*.
constexpr std::array<std::string_view, 9> kLinkFields = {
    "name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url"};
enum LinkField : std::size_t { kName = 0, kVersion = 2, kOrganization = 3, kRepoUrl = 8 };
using Link = std::array<std::optional<std::string>, kLinkFields.size()>;

// A field that is set to "" is known to be empty: no later source fills it and no key is written.
struct Fields {
  std::optional<std::string> name, author, version, organization, finetune, basename, description;
  std::optional<std::string> size_label, license, license_name, license_link;
  std::optional<std::string> source_url, source_doi, source_uuid, source_repo_url;
  std::vector<std::string> tags, languages;
  std::optional<std::vector<Link>> base_models, datasets;
};
using TextField = std::optional<std::string> Fields::*;

struct CardKey {
  std::string_view key;
  TextField field;
};

// In order of precedence: the converter's own keys, the same with model_ before them, and keys that
// model authors use.
constexpr CardKey kCardKeys[] = {
    {"name", &Fields::name},
    {"author", &Fields::author},
    {"version", &Fields::version},
    {"organization", &Fields::organization},
    {"description", &Fields::description},
    {"finetune", &Fields::finetune},
    {"basename", &Fields::basename},
    {"size_label", &Fields::size_label},
    {"url", &Fields::source_url},
    {"doi", &Fields::source_doi},
    {"uuid", &Fields::source_uuid},
    {"repo_url", &Fields::source_repo_url},
    {"model_name", &Fields::name},
    {"model_author", &Fields::author},
    {"model_version", &Fields::version},
    {"model_organization", &Fields::organization},
    {"model_description", &Fields::description},
    {"model_finetune", &Fields::finetune},
    {"model_basename", &Fields::basename},
    {"model_size_label", &Fields::size_label},
    {"model_url", &Fields::source_url},
    {"model_doi", &Fields::source_doi},
    {"model_uuid", &Fields::source_uuid},
    {"model_repo_url", &Fields::source_repo_url},
    {"model_creator", &Fields::author},
    {"model_type", &Fields::basename},
    {"license", &Fields::license},
    {"license_name", &Fields::license_name},
    {"license_link", &Fields::license_link},
};

// In the order of the file; general.base_model.* and what follows come after them.
constexpr CardKey kWrittenKeys[] = {
    {"general.name", &Fields::name},
    {"general.author", &Fields::author},
    {"general.version", &Fields::version},
    {"general.organization", &Fields::organization},
    {"general.finetune", &Fields::finetune},
    {"general.basename", &Fields::basename},
    {"general.description", &Fields::description},
    {"general.size_label", &Fields::size_label},
    {"general.license", &Fields::license},
    {"general.license.name", &Fields::license_name},
    {"general.license.link", &Fields::license_link},
    {"general.source.url", &Fields::source_url},
    {"general.source.doi", &Fields::source_doi},
    {"general.source.uuid", &Fields::source_uuid},
    {"general.source.repo_url", &Fields::source_repo_url},
};

// False and zero in YAML 1.1: "no", "0", "-0.0", "0x0", "0e5".
bool is_false(std::string_view scalar) {
  static constexpr std::string_view kFalse[] = {"no",    "No",  "NO",  "false", "False",
                                                "FALSE", "off", "Off", "OFF"};
  if (std::find(std::begin(kFalse), std::end(kFalse), scalar) != std::end(kFalse)) return true;
  if (scalar.starts_with('+') || scalar.starts_with('-')) scalar.remove_prefix(1);
  if (scalar.starts_with("0x") || scalar.starts_with("0b")) {
    scalar.remove_prefix(2);
  } else {
    scalar = scalar.substr(0, scalar.find_first_of("eE"));
  }
  return scalar.find_first_not_of("0_.:") == std::string_view::npos;
}

// The text of a scalar. Numbers and dates are taken as written ("version: 1.0"); what Python takes
// for false (false, zero, an empty list) is an empty text.
std::optional<std::string> text_of(const CardValue& value) {
  if (value.kind == CardValue::Kind::null) return std::nullopt;
  if (value.kind == CardValue::Kind::text) return value.text;
  if (value.kind != CardValue::Kind::scalar) {
    return value.items.empty() ? std::optional<std::string>("") : std::nullopt;
  }
  return is_false(value.text) ? std::string() : value.text;
}

// Scalars of a list, as written.
std::vector<std::string> texts_of(const CardValue& list) {
  std::vector<std::string> texts;
  for (const CardValue& item : list.items) {
    const bool scalar = item.kind == CardValue::Kind::text || item.kind == CardValue::Kind::scalar;
    if (scalar) texts.push_back(item.text);
  }
  return texts;
}

void read_card_texts(const CardValue& card, Fields& fields) {
  for (const CardKey& entry : kCardKeys) {
    const CardValue* value = card.find(entry.key);
    if (value == nullptr || (fields.*entry.field)) continue;
    fields.*entry.field = text_of(*value);
    if (entry.key == "license" && value->kind == CardValue::Kind::list) {
      fields.license = fmt::format("{}", fmt::join(texts_of(*value), ","));
    }
  }
}

void append_card_list(const CardValue& card, std::string_view key,
                      std::vector<std::string>& values) {
  const CardValue* value = card.find(key);
  if (value == nullptr) return;
  if (value->kind == CardValue::Kind::text) values.push_back(value->text);
  if (value->kind == CardValue::Kind::list) {
    for (std::string& text : texts_of(*value)) values.push_back(std::move(text));
  }
}

// The id in http(s)://huggingface.co/ORG/NAME.
std::optional<std::string_view> hub_id(std::string_view url) {
  for (const std::string_view host : {"http://huggingface.co/", "https://huggingface.co/"}) {
    if (!url.starts_with(host)) continue;
    const std::string_view id = url.substr(host.size());
    const auto slash = id.find('/');
    const bool two_parts = slash != std::string_view::npos && slash > 0 && slash + 1 < id.size() &&
                           id.find('/', slash + 1) == std::string_view::npos;
    if (two_parts) return id;
  }
  return std::nullopt;
}

Link link_from_id(std::string_view id, std::uint64_t parameters) {
  Link link;
  const auto fill = [&](const ModelId& parts) {
    if (parts.name) link[kName] = to_title(*parts.name);
    if (parts.organization) link[kOrganization] = to_title(*parts.organization);
    link[kVersion] = parts.version;
  };
  if (id.starts_with("http://") || id.starts_with("https://") || id.starts_with("ssh://")) {
    link[kRepoUrl] = std::string(id);
    if (const auto in_hub = hub_id(id)) fill(parse_model_id(*in_hub, parameters));
    return link;
  }
  const ModelId parts = parse_model_id(id, parameters);
  fill(parts);
  if (parts.organization && parts.name) {
    link[kRepoUrl] = fmt::format("https://huggingface.co/{}/{}", *parts.organization, *parts.name);
  }
  return link;
}

Link link_from_map(const CardValue& map) {
  Link link;
  for (std::size_t i = 0; i < kLinkFields.size(); ++i) {
    if (const CardValue* value = map.find(kLinkFields[i])) link[i] = text_of(*value);
  }
  return link;
}

// The links under the first of `keys` that the card has.
std::optional<std::vector<Link>> read_card_links(const CardValue& card,
                                                 std::initializer_list<std::string_view> keys,
                                                 std::uint64_t parameters) {
  const CardValue* value = nullptr;
  for (const std::string_view key : keys) {
    if (value == nullptr) value = card.find(key);
  }
  if (value == nullptr) return std::nullopt;

  std::vector<Link> links;
  const auto add = [&](const CardValue& entry) {
    if (entry.kind == CardValue::Kind::text) {
      links.push_back(link_from_id(entry.text, parameters));
    } else if (entry.kind == CardValue::Kind::map) {
      links.push_back(link_from_map(entry));
    } else {
      links.emplace_back();  // not understood, but counted
    }
  };
  if (value->kind == CardValue::Kind::text) add(*value);
  if (value->kind == CardValue::Kind::list) {
    for (const CardValue& item : value->items) add(item);
  }
  return links;
}

// Fills what is still unknown from a model id.
void read_id(std::string_view id, std::uint64_t parameters, Fields& fields) {
  ModelId parts = parse_model_id(id, parameters);
  if (!fields.name && parts.name) fields.name = to_title(*parts.name);
  if (!fields.organization && parts.organization) {
    fields.organization = to_title(*parts.organization);
  }
  if (!fields.basename) fields.basename = std::move(parts.basename);
  if (!fields.finetune) fields.finetune = std::move(parts.finetune);
  if (!fields.version) fields.version = std::move(parts.version);
  if (!fields.size_label) fields.size_label = std::move(parts.size_label);
}

// "dir/" and "dir/." name dir; "." names the working directory.
std::string directory_name(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::absolute(directory, error).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return to_valid_utf8(path.filename().string());
}

struct SamplingKey {
  std::string_view key;       // after general.sampling.
  std::string_view setting;   // in generation_config.json
  std::string_view fallback;  // the setting's other name
  bool integer;
};
constexpr SamplingKey kSamplingKeys[] = {
    {"top_k", "top_k", "", true},
    {"top_p", "top_p", "", false},
    {"min_p", "min_p", "", false},
    {"xtc_probability", "xtc_probability", "", false},
    {"xtc_threshold", "xtc_threshold", "", false},
    {"temp", "temperature", "", false},
    {"penalty_last_n", "penalty_last_n", "", true},
    {"penalty_repeat", "penalty_repeat", "repetition_penalty", false},
    {"mirostat", "mirostat", "", true},
    {"mirostat_tau", "mirostat_tau", "", false},
    {"mirostat_eta", "mirostat_eta", "", false},
};

void add_sampling_key(const SamplingKey& entry, const Json& settings, GgufMetadata& metadata) {
  const Json* value = find_member(settings, entry.setting);
  if (value == nullptr && !entry.fallback.empty()) value = find_member(settings, entry.fallback);
  if (value == nullptr || !value->is_number()) return;
  const std::string key = fmt::format("general.sampling.{}", entry.key);
  const double number = value->get<double>();
  if (!entry.integer) {
    if (std::abs(number) <= std::numeric_limits<float>::max()) metadata.set_f32(key, number);
    return;
  }
  if (value->is_number_integer() && number >= std::numeric_limits<std::int32_t>::min() &&
      number <= std::numeric_limits<std::int32_t>::max()) {
    metadata.set(key, GgufValue(static_cast<std::int32_t>(number)));
  }
}

void add_sampling(const std::filesystem::path& directory, GgufMetadata& metadata) {
  const std::filesystem::path path = directory / "generation_config.json";
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return;
  try {
    const Json settings = read_json(path, std::size_t{1} << 20);
    const Json* sequence = find_member(settings, "sequence");
    if (sequence != nullptr && sequence->is_string() && !sequence->empty()) {
      metadata.set_string("general.sampling.sequence", sequence->get<std::string>());
    }
    for (const SamplingKey& entry : kSamplingKeys) add_sampling_key(entry, settings, metadata);
  } catch (const Error&) {
    return;  // many models ship a damaged one
  }
}

void add_links(std::string_view group, const std::optional<std::vector<Link>>& links,
               GgufMetadata& metadata) {
  if (!links) return;
  metadata.set_u32(fmt::format("general.{}.count", group), links->size());
  for (std::size_t i = 0; i < links->size(); ++i) {
    for (std::size_t field = 0; field < kLinkFields.size(); ++field) {
      const auto& text = (*links)[i][field];
      if (!text || text->empty()) continue;
      metadata.set_string(fmt::format("general.{}.{}.{}", group, i, kLinkFields[field]), *text);
    }
  }
}

// `count` with the suffix of its thousand: at least two digits.
std::string rounded(std::uint64_t count) {
  struct Scale {
    double above;
    double factor;
    char suffix;
  };
  static constexpr Scale kScales[] = {
      {1e12, 1e-12, 'T'}, {1e9, 1e-9, 'B'}, {1e6, 1e-6, 'M'}, {-1, 1e-3, 'K'}};
  const auto number = static_cast<double>(count);
  const auto scale = std::find_if(std::begin(kScales), std::end(kScales),
                                  [&](const Scale& s) { return number > s.above; });
  const double scaled = number * scale->factor;
  const double whole = std::nearbyint(scaled);  // ties to even
  const int decimals = whole < 1 ? 2 : whole < 10 ? 1 : 0;
  return fmt::format("{:.{}f}{}", scaled, decimals, scale->suffix);
}

}  // namespace

std::string size_label(const ParameterCount& count) {
  if (count.expert_count == 0) return rounded(count.total);
  return fmt::format("{}x{}", count.expert_count, rounded(count.shared + count.expert));
}

void add_general_metadata(const std::filesystem::path& directory, const Json& config,
                          const std::string& name_override, const ParameterCount& count,
                          GgufMetadata& metadata) {
  Fields fields;
  const CardValue card = load_model_card(directory);
  read_card_texts(card, fields);
  fields.base_models =
      read_card_links(card, {"base_model", "base_models", "base_model_sources"}, count.total);
  fields.datasets = read_card_links(card, {"datasets", "dataset", "dataset_sources"}, count.total);
  append_card_list(card, "tags", fields.tags);
  append_card_list(card, "pipeline_tag", fields.tags);
  append_card_list(card, "languages", fields.languages);
  append_card_list(card, "language", fields.languages);

  const Json* id = find_member(config, "_name_or_path");
  if (id != nullptr && id->is_string()) {
    const auto& text = id->get_ref<const std::string&>();
    // With more than one '/' it is a path on some computer.
    if (std::count(text.begin(), text.end(), '/') <= 1) read_id(text, count.total, fields);
  }
  read_id(directory_name(directory), count.total, fields);
  if (!name_override.empty()) fields.name = name_override;
  if (!fields.size_label && count.total > 0) fields.size_label = size_label(count);

  metadata.set_string("general.type", "model");
  add_sampling(directory, metadata);
  for (const CardKey& entry : kWrittenKeys) {
    const auto& text = fields.*entry.field;
    if (text && !text->empty()) metadata.set_string(entry.key, *text);
  }
  add_links("base_model", fields.base_models, metadata);
  add_links("dataset", fields.datasets, metadata);
  if (!fields.tags.empty()) metadata.set_array("general.tags", std::move(fields.tags));
  if (!fields.languages.empty()) {
    metadata.set_array("general.languages", std::move(fields.languages));
  }
}

std::string artifact_name(const GgufMetadata& metadata, std::string_view encoding) {
  const auto part = [](std::string_view text) {
    std::string result(strip(text));
    std::replace_if(
        result.begin(), result.end(), [](char c) { return (c >= 0 && c <= ' ') || c == '/'; }, '-');
    return result;
  };
  std::string name = "ggml-model";
  for (const std::string_view key : {"general.name", "general.basename"}) {
    if (const auto text = metadata.find_string(key)) name = part(*text);
  }
  for (const std::string_view key : {"general.size_label", "general.finetune", "general.version"}) {
    if (const auto text = metadata.find_string(key)) name.append("-").append(part(*text));
  }
  if (!encoding.empty()) {
    std::string upper = part(encoding);
    std::transform(upper.begin(), upper.end(), upper.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    name.append("-").append(upper);
  }
  return name;
}

}  // namespace qwodel
