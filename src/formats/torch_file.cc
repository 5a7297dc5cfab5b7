#include "formats/torch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "core/checked.h"
#include "formats/pickle.h"
#include "formats/zip_directory.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

using Kind = PickleValue::Kind;

constexpr std::size_t kMaxRank = 32;

// What a global of the pickle stands for.
enum class Role { dictionary, tensor_v2, tensor_v3, parameter, size, storage, untyped, dtype };

struct Global {
  PickleGlobal name;
  Role role;
  TensorType type = TensorType::u8;  // of storages and dtypes
};

constexpr std::array kGlobals = {
    Global{{"collections", "OrderedDict", true}, Role::dictionary},
    Global{{"torch._utils", "_rebuild_tensor"}, Role::tensor_v2},
    Global{{"torch._utils", "_rebuild_tensor_v2"}, Role::tensor_v2},
    Global{{"torch._utils", "_rebuild_tensor_v3"}, Role::tensor_v3},
    Global{{"torch._utils", "_rebuild_parameter"}, Role::parameter},
    Global{{"torch._utils", "_rebuild_parameter_with_state"}, Role::parameter},
    Global{{"torch", "Size"}, Role::size},
    Global{{"torch", "DoubleStorage"}, Role::storage, TensorType::f64},
    Global{{"torch", "FloatStorage"}, Role::storage, TensorType::f32},
    Global{{"torch", "HalfStorage"}, Role::storage, TensorType::f16},
    Global{{"torch", "BFloat16Storage"}, Role::storage, TensorType::bf16},
    Global{{"torch", "LongStorage"}, Role::storage, TensorType::i64},
    Global{{"torch", "IntStorage"}, Role::storage, TensorType::i32},
    Global{{"torch", "ShortStorage"}, Role::storage, TensorType::i16},
    Global{{"torch", "CharStorage"}, Role::storage, TensorType::i8},
    Global{{"torch", "ByteStorage"}, Role::storage, TensorType::u8},
    Global{{"torch", "BoolStorage"}, Role::storage, TensorType::boolean},
    Global{{"torch.storage", "UntypedStorage"}, Role::untyped},
    Global{{"torch", "float8_e4m3fn"}, Role::dtype, TensorType::f8_e4m3},
    Global{{"torch", "float8_e5m2"}, Role::dtype, TensorType::f8_e5m2},
    Global{{"torch", "uint16"}, Role::dtype, TensorType::u16},
    Global{{"torch", "uint32"}, Role::dtype, TensorType::u32},
    Global{{"torch", "uint64"}, Role::dtype, TensorType::u64},
};

constexpr auto kAllowed = [] {
  std::array<PickleGlobal, kGlobals.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kGlobals[i].name;
  return names;
}();

struct Storage {
  std::span<const std::byte> bytes;
  std::optional<TensorType> type;  // nothing for an untyped one
};

// A view of a storage, in elements.
struct View {
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> strides;
  std::uint64_t offset = 0;
};

bool is_row_major(const View& view) {
  std::uint64_t step = 1;
  for (std::size_t i = view.shape.size(); i-- > 0;) {
    if (view.shape[i] != 1 && view.strides[i] != step) return false;
    step *= view.shape[i];
  }
  return true;
}

// The elements of a view one after the other. REQUIRES: the view lies in `bytes`; no extent is 0.
std::vector<std::byte> copy_view(const View& view, std::span<const std::byte> bytes,
                                 std::size_t width) {
  std::vector<std::byte> copy(element_count(view.shape) * width);
  std::vector<std::uint64_t> index(view.shape.size(), 0);
  std::uint64_t at = view.offset;
  for (std::size_t out = 0; out < copy.size(); out += width) {
    std::memcpy(copy.data() + out, bytes.data() + at * width, width);
    for (std::size_t i = index.size(); i-- > 0;) {
      at += view.strides[i];
      if (++index[i] < view.shape[i]) break;
      at -= view.strides[i] * view.shape[i];
      index[i] = 0;
    }
  }
  return copy;
}

class TorchReader {
 public:
  TorchReader(const MappedFile& file, const ZipDirectory& zip, const ZipEntry& pickle)
      : name_(file.path().string()),
        zip_(zip),
        prefix_(pickle.name.substr(0, pickle.name.size() - std::string_view("data.pkl").size())),
        copy_room_(file.bytes().size()),
        pickle_(pickle.bytes, kAllowed, name_) {}

  TorchFile read() {
    check_byte_order();
    const PickleValue& dictionary = state_dict();
    for (std::size_t i = 0; i < dictionary.items.size(); i += 2) {
      const PickleValue& key = pickle_[dictionary.items[i]];
      if (key.kind != Kind::text) refuse(name_, "a dictionary key that is no string");
      where_ = fmt::format("{}: tensor \"{}\"", name_, key.text);
      add_tensor(std::string(key.text), pickle_[dictionary.items[i + 1]]);
    }
    return std::move(file_);
  }

 private:
  [[noreturn]] static void refuse(std::string where, std::string found) {
    throw FormatNotSupportedError({.where = std::move(where),
                                   .found = std::move(found),
                                   .expected = "a dictionary of tensors",
                                   .remedy = "use a safetensors version of the model"});
  }

  [[noreturn]] void fail(std::string found, std::string expected) const {
    throw ValidationError({.where = where_.empty() ? name_ : where_,
                           .found = std::move(found),
                           .expected = std::move(expected),
                           .remedy = "the file is damaged: download or write it again"});
  }

  void check_byte_order() const {
    const ZipEntry* order = zip_.find(prefix_ + "byteorder");
    if (order == nullptr) return;  // files before torch 2.1; little-endian machines wrote them
    const std::string_view text(reinterpret_cast<const char*>(order->bytes.data()),
                                order->bytes.size());
    if (text != "little") refuse(name_, "big-endian data");
  }

  // The dictionary itself, or the one under "state_dict" of a training checkpoint.
  const PickleValue& state_dict() const {
    const PickleValue& root = pickle_[pickle_.root()];
    if (root.kind != Kind::dict) refuse(name_, "a pickle of another object");
    for (std::size_t i = 0; i < root.items.size(); i += 2) {
      const PickleValue& value = pickle_[root.items[i + 1]];
      if (pickle_[root.items[i]].text == "state_dict" && value.kind == Kind::dict) return value;
    }
    return root;
  }

  const Global& global_of(const PickleValue& value) const {
    return kGlobals[static_cast<std::size_t>(value.integer)];
  }

  const PickleValue& argument(const PickleValue& call, std::size_t i, Kind kind) const {
    if (i >= call.items.size() || pickle_[call.items[i]].kind != kind) {
      fail(fmt::format("argument {} of another kind", i + 1), "the arguments torch writes");
    }
    return pickle_[call.items[i]];
  }

  std::uint64_t size_of(const PickleValue& value) const {
    if (value.kind != Kind::integer || value.integer < 0) {
      fail("a size that is no whole number from 0", "sizes and strides from 0");
    }
    return static_cast<std::uint64_t>(value.integer);
  }

  std::vector<std::uint64_t> sizes(const PickleValue& call, std::size_t i) const {
    const PickleValue* tuple = i < call.items.size() ? &pickle_[call.items[i]] : nullptr;
    if (tuple != nullptr && tuple->kind == Kind::call && global_of(*tuple).role == Role::size) {
      tuple = &argument(*tuple, 0, Kind::tuple);
    }
    if (tuple == nullptr || tuple->kind != Kind::tuple || tuple->items.size() > kMaxRank) {
      fail("no tuple of sizes", fmt::format("at most {} sizes", kMaxRank));
    }
    std::vector<std::uint64_t> values;
    for (const PickleRef item : tuple->items) values.push_back(size_of(pickle_[item]));
    return values;
  }

  // ("storage", torch.FloatStorage, "3", "cpu", 4096)
  Storage storage(const PickleValue& value) const {
    if (value.kind != Kind::persistent) fail("a tensor without storage", "a storage");
    const PickleValue& id = pickle_[value.items[0]];
    if (id.kind != Kind::tuple || id.items.size() != 5 ||
        argument(id, 0, Kind::text).text != "storage") {
      fail("a persistent id of another kind", "a storage");
    }
    const Global& type = global_of(argument(id, 1, Kind::global));
    if (type.role != Role::storage && type.role != Role::untyped) {
      fail(fmt::format("{} as a storage", type.name.name), "a storage type");
    }
    const std::string entry_name =
        prefix_ + "data/" + std::string(argument(id, 2, Kind::text).text);
    const ZipEntry* entry = zip_.find(entry_name);
    if (entry == nullptr) fail(fmt::format("no entry \"{}\"", entry_name), "the storage's bytes");
    const std::uint64_t count = size_of(pickle_[id.items[4]]);
    const auto bytes = bytes_of(type.type, count);
    if (!bytes || *bytes > entry->bytes.size()) {
      fail(fmt::format("{} bytes in \"{}\"", entry->bytes.size(), entry_name),
           fmt::format("{} {} values", count, info(type.type).name));
    }
    return {.bytes = entry->bytes.first(*bytes),
            .type = type.role == Role::untyped ? std::nullopt : std::optional(type.type)};
  }

  const PickleValue& unwrap_parameter(const PickleValue& value) const {
    if (value.kind != Kind::call || global_of(value).role != Role::parameter) {
      return value;  // NOLINT(bugprone-return-const-ref-from-parameter): it lives in pickle_
    }
    return argument(value, 0, Kind::call);
  }

  void add_tensor(std::string name, const PickleValue& stored) {
    const PickleValue& call = unwrap_parameter(stored);
    const Role role = call.kind == Kind::call ? global_of(call).role : Role::size;
    if (role != Role::tensor_v2 && role != Role::tensor_v3) refuse(where_, "no tensor");
    const Storage source = storage(argument(call, 0, Kind::persistent));
    const auto type = role == Role::tensor_v3
                          ? std::optional(dtype(argument(call, 6, Kind::global)))
                          : source.type;
    if (!type) fail("a storage without type", "a typed storage");
    View view;
    view.offset = size_of(argument(call, 1, Kind::integer));
    view.shape = sizes(call, 2);
    view.strides = sizes(call, 3);
    file_.tensors.push_back({.name = std::move(name),
                             .type = *type,
                             .shape = view.shape,
                             .bytes = view_bytes(view, source, info(*type).block_bytes)});
  }

  TensorType dtype(const PickleValue& value) const {
    const Global& global = global_of(value);
    if (global.role != Role::dtype) fail(fmt::format("{} as a dtype", global.name.name), "a dtype");
    return global.type;
  }

  std::span<const std::byte> view_bytes(const View& view, const Storage& source,
                                        std::size_t width) {
    const auto count = checked_product(view.shape);
    if (view.shape.size() != view.strides.size() || !count) {
      fail("shape " + shape_text(view.shape) + " with strides " + shape_text(view.strides),
           "a stride for every size");
    }
    if (*count == 0) return {};
    const std::uint64_t available = source.bytes.size() / width;
    std::optional<std::uint64_t> last = view.offset;
    for (std::size_t i = 0; i < view.shape.size(); ++i) {
      const auto reach = checked_mul(view.shape[i] - 1, view.strides[i]);
      last = reach && last ? checked_add(*last, *reach) : std::nullopt;
    }
    if (!last || *last >= available) {
      fail("shape " + shape_text(view.shape) + " with strides " + shape_text(view.strides),
           fmt::format("a view of the {} values in its storage", available));
    }
    if (is_row_major(view)) return source.bytes.subspan(view.offset * width, *count * width);
    // A transposed weight. Copies never take more memory than the file is long, so that a few
    // bytes that repeat one value cannot grow without bound.
    const auto bytes = checked_mul(*count, width);
    if (!bytes || *bytes > copy_room_) {
      fail("views that repeat their storage", "tensors not larger than the file");
    }
    copy_room_ -= *bytes;
    return file_.copies.emplace_back(copy_view(view, source.bytes, width));
  }

  std::string name_;
  const ZipDirectory& zip_;
  std::string prefix_;
  std::uint64_t copy_room_;
  Pickle pickle_;
  TorchFile file_;
  std::string where_;
};

void refuse_legacy(const MappedFile& file) {
  const auto bytes = file.bytes();
  const bool zip = bytes.size() >= 2 && bytes[0] == std::byte{'P'} && bytes[1] == std::byte{'K'};
  if (zip) return;
  const bool pickle = bytes.size() >= 2 && bytes[0] == std::byte{0x80};
  if (!pickle) {
    throw ValidationError({.where = file.path().string(),
                           .found = "no zip archive",
                           .expected = "a file written by torch.save",
                           .remedy = "download it again"});
  }
  throw FormatNotSupportedError(
      {.where = file.path().string(),
       .found = "a torch file in the format from before version 1.6",
       .expected = "the zip format",
       .remedy = "load it with torch and save it again, or use a safetensors version"});
}

}  // namespace

TorchFile read_torch_file(const MappedFile& file) {
  refuse_legacy(file);
  const ZipDirectory zip(file);
  const ZipEntry* pickle = nullptr;
  for (const ZipEntry& entry : zip.entries()) {
    if (entry.name != "data.pkl" && !entry.name.ends_with("/data.pkl")) continue;
    if (pickle != nullptr) {
      throw ValidationError({.where = file.path().string(),
                             .found = "two entries data.pkl",
                             .expected = "one",
                             .remedy = ""});
    }
    pickle = &entry;
  }
  if (pickle == nullptr) {
    throw ValidationError({.where = file.path().string(),
                           .found = "no entry data.pkl",
                           .expected = "an archive written by torch.save",
                           .remedy = "check that this is a model"});
  }
  return TorchReader(file, zip, *pickle).read();
}

}  // namespace qwodel
