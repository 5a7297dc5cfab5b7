#include "formats/pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <unordered_map>

#include "io/byte_cursor.h"
#include "qwodel/error.h"

namespace qwodel {

namespace {

// About 56 bytes each. A tensor takes some 20, so this is room for 400,000 tensors.
constexpr std::size_t kMaxValues = std::size_t{1} << 23;

}  // namespace

// The stack machine. Each opcode makes at most one value, so memory is bounded by the input.
class PickleReader {
 public:
  PickleReader(Pickle& pickle, std::span<const std::byte> bytes,
               std::span<const PickleGlobal> allowed, const std::string& source)
      : pickle_(pickle), cursor_(bytes, source), allowed_(allowed) {}

  void run() {
    while (!stopped_) {
      const auto opcode = cursor_.read<std::uint8_t>("a pickle opcode");
      const Handler handler = kHandlers[opcode];
      if (handler == nullptr) refuse(fmt::format("pickle opcode 0x{:02x}", opcode));
      (this->*handler)();
    }
  }

 private:
  using Handler = void (PickleReader::*)();
  using Kind = PickleValue::Kind;

  [[noreturn]] void fail(std::string found, std::string expected) const {
    throw ValidationError({.where = cursor_.source(),
                           .found = std::move(found),
                           .expected = std::move(expected),
                           .remedy = "the file is damaged: download or write it again"});
  }

  [[noreturn]] void refuse(std::string found) const {
    throw FormatNotSupportedError({.where = cursor_.source(),
                                   .found = std::move(found),
                                   .expected = "a pickle of tensors only",
                                   .remedy = "use a safetensors version of the model"});
  }

  PickleValue& make(Kind kind) {
    if (pickle_.values_.size() == kMaxValues) {
      fail("a pickle of too many values", fmt::format("at most {}", kMaxValues));
    }
    stack_.push_back(static_cast<PickleRef>(pickle_.values_.size()));
    PickleValue& value = pickle_.values_.emplace_back();
    value.kind = kind;
    return value;
  }

  // The part of the stack above the last mark, or all of it.
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  PickleRef pop() {
    if (stack_.size() <= floor()) fail("an opcode without its operands", "a whole pickle");
    const PickleRef ref = stack_.back();
    stack_.pop_back();
    return ref;
  }

  std::vector<PickleRef> pop_to_mark() {
    if (marks_.empty()) fail("an opcode without its mark", "a whole pickle");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleRef> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }

  PickleValue& top(Kind kind) {
    if (stack_.size() <= floor() || pickle_.values_[stack_.back()].kind != kind) {
      fail("an opcode whose object is of another kind", "a whole pickle");
    }
    return pickle_.values_[stack_.back()];
  }

  void extend(Kind kind, std::span<const PickleRef> items) {
    auto& list = top(kind).items;
    list.insert(list.end(), items.begin(), items.end());
  }

  void make_text(Kind kind, std::uint64_t size) {
    const auto bytes = cursor_.take(size, "a string");
    make(kind).text = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  void make_integer(Kind kind, std::int64_t integer) { make(kind).integer = integer; }

  void make_tuple(std::size_t size) {
    std::vector<PickleRef> items(size);
    for (std::size_t i = size; i-- > 0;) items[i] = pop();
    make(Kind::tuple).items = std::move(items);
  }

  std::string_view line() {
    const std::uint64_t start = cursor_.position();
    while (cursor_.read<char>("the name of a global") != '\n') {
    }
    const auto size = static_cast<std::size_t>(cursor_.position() - start);
    const char* end = reinterpret_cast<const char*>(cursor_.take(0, "").data());
    return {end - size, size - 1};
  }

  void make_global(std::string_view module, std::string_view name) {
    const auto row = std::ranges::find_if(allowed_, [&](const PickleGlobal& global) {
      return global.module == module && global.name == name;
    });
    if (row == allowed_.end()) {
      refuse(fmt::format("the Python object {}.{}, which is not read", module, name));
    }
    make_integer(Kind::global, row - allowed_.begin());
  }

  // Opcodes, in the order of the table below.

  void proto() {
    const auto version = cursor_.read<std::uint8_t>("the protocol");
    if (version > 5) refuse(fmt::format("pickle protocol {}", version));
  }
  void frame() { cursor_.take(8, "a frame size"); }
  void stop() {
    pickle_.root_ = pop();
    stopped_ = true;
  }
  void mark() { marks_.push_back(stack_.size()); }
  void pop_top() { pop(); }
  void pop_mark() { pop_to_mark(); }
  void duplicate() {
    const PickleRef ref = pop();
    stack_.insert(stack_.end(), 2, ref);
  }

  void none() { make(Kind::none); }
  void yes() { make_integer(Kind::boolean, 1); }
  void no() { make_integer(Kind::boolean, 0); }
  void integer_1() { make_integer(Kind::integer, cursor_.read<std::uint8_t>("an integer")); }
  void integer_2() { make_integer(Kind::integer, cursor_.read<std::uint16_t>("an integer")); }
  void integer_4() { make_integer(Kind::integer, cursor_.read<std::int32_t>("an integer")); }
  void long_integer() {
    const auto size = cursor_.read<std::uint8_t>("the size of an integer");
    if (size > sizeof(std::int64_t)) fail("an integer of more than 64 bits", "a size or count");
    std::uint64_t bits = 0;
    for (unsigned i = 0; i < size; ++i) {
      bits |= static_cast<std::uint64_t>(cursor_.read<std::uint8_t>("an integer")) << (8 * i);
    }
    const unsigned unused = 64 - 8u * size;
    const auto value =
        std::bit_cast<std::int64_t>(size == 0 ? 0 : bits << unused) >> (size == 0 ? 0 : unused);
    make_integer(Kind::integer, value);
  }
  void real() {
    cursor_.take(8, "a number");
    make(Kind::real);
  }
  void text_1() { make_text(Kind::text, cursor_.read<std::uint8_t>("the length of a string")); }
  void text_4() { make_text(Kind::text, cursor_.read<std::uint32_t>("the length of a string")); }
  void text_8() { make_text(Kind::text, cursor_.read<std::uint64_t>("the length of a string")); }
  void bytes_1() { make_text(Kind::bytes, cursor_.read<std::uint8_t>("the length of bytes")); }
  void bytes_4() { make_text(Kind::bytes, cursor_.read<std::uint32_t>("the length of bytes")); }

  void empty_dict() { make(Kind::dict); }
  void empty_list() { make(Kind::list); }
  void empty_tuple() { make(Kind::tuple); }
  void tuple_1() { make_tuple(1); }
  void tuple_2() { make_tuple(2); }
  void tuple_3() { make_tuple(3); }
  void tuple() {
    auto items = pop_to_mark();
    make(Kind::tuple).items = std::move(items);
  }
  void append() {
    const PickleRef item = pop();
    extend(Kind::list, std::array{item});
  }
  void appends() { extend(Kind::list, pop_to_mark()); }
  void set_item() {
    const PickleRef value = pop();
    const PickleRef key = pop();
    extend(Kind::dict, std::array{key, value});
  }
  void set_items() {
    const auto items = pop_to_mark();
    if (items.size() % 2 != 0) fail("a dictionary key without value", "pairs");
    extend(Kind::dict, items);
  }

  void put_1() { put(cursor_.read<std::uint8_t>("a memo index")); }
  void put_4() { put(cursor_.read<std::uint32_t>("a memo index")); }
  void memoize() { put(static_cast<std::uint32_t>(memo_.size())); }
  void put(std::uint32_t index) {
    if (stack_.size() <= floor()) fail("an opcode without its operands", "a whole pickle");
    memo_[index] = stack_.back();
  }
  void get_1() { get(cursor_.read<std::uint8_t>("a memo index")); }
  void get_4() { get(cursor_.read<std::uint32_t>("a memo index")); }
  void get(std::uint32_t index) {
    const auto entry = memo_.find(index);
    if (entry == memo_.end()) fail(fmt::format("memo index {}", index), "one stored before");
    stack_.push_back(entry->second);
  }

  void global() {
    const std::string_view module = line();
    make_global(module, line());
  }
  void stack_global() {
    const std::string_view name = text_of(pop());
    make_global(text_of(pop()), name);
  }
  std::string_view text_of(PickleRef ref) const {
    const PickleValue& value = pickle_.values_[ref];
    if (value.kind != Kind::text) fail("a global whose name is no string", "a string");
    return value.text;
  }
  void call() {
    const PickleRef arguments = pop();
    const PickleRef callee = pop();
    if (pickle_.values_[callee].kind != Kind::global ||
        pickle_.values_[arguments].kind != Kind::tuple) {
      fail("a call of something that is no global", "a global and its arguments");
    }
    const std::int64_t row = pickle_.values_[callee].integer;
    const PickleGlobal& global = allowed_[static_cast<std::size_t>(row)];
    if (global.makes_dict) {
      if (!pickle_.values_[arguments].items.empty()) {
        refuse(fmt::format("{}.{} made from arguments", global.module, global.name));
      }
      make(Kind::dict);
      return;
    }
    auto items = pickle_.values_[arguments].items;
    PickleValue& value = make(Kind::call);
    value.integer = row;
    value.items = std::move(items);
  }
  void persistent_id() {
    const PickleRef id = pop();
    make(Kind::persistent).items = {id};
  }
  // Attributes of an object (the _metadata of a state dict) say nothing about its tensors.
  void build() {
    pop();
    if (stack_.size() <= floor()) fail("an opcode without its operands", "a whole pickle");
  }

  struct Row {
    std::uint8_t opcode;
    Handler handler;
  };
  static constexpr std::array<Row, 41> kRows = {{
      {0x80, &PickleReader::proto},      {0x95, &PickleReader::frame},
      {'.', &PickleReader::stop},        {'(', &PickleReader::mark},
      {'0', &PickleReader::pop_top},     {'1', &PickleReader::pop_mark},
      {'2', &PickleReader::duplicate},   {'N', &PickleReader::none},
      {0x88, &PickleReader::yes},        {0x89, &PickleReader::no},
      {'K', &PickleReader::integer_1},   {'M', &PickleReader::integer_2},
      {'J', &PickleReader::integer_4},   {0x8a, &PickleReader::long_integer},
      {'G', &PickleReader::real},        {0x8c, &PickleReader::text_1},
      {'X', &PickleReader::text_4},      {0x8d, &PickleReader::text_8},
      {'C', &PickleReader::bytes_1},     {'B', &PickleReader::bytes_4},
      {'}', &PickleReader::empty_dict},  {']', &PickleReader::empty_list},
      {')', &PickleReader::empty_tuple}, {0x85, &PickleReader::tuple_1},
      {0x86, &PickleReader::tuple_2},    {0x87, &PickleReader::tuple_3},
      {'t', &PickleReader::tuple},       {'a', &PickleReader::append},
      {'e', &PickleReader::appends},     {'s', &PickleReader::set_item},
      {'u', &PickleReader::set_items},   {'q', &PickleReader::put_1},
      {'r', &PickleReader::put_4},       {0x94, &PickleReader::memoize},
      {'h', &PickleReader::get_1},       {'j', &PickleReader::get_4},
      {'c', &PickleReader::global},      {0x93, &PickleReader::stack_global},
      {'R', &PickleReader::call},        {'Q', &PickleReader::persistent_id},
      {'b', &PickleReader::build},
  }};
  static constexpr std::array<Handler, 256> make_handlers() {
    std::array<Handler, 256> handlers{};
    for (const Row& row : kRows) handlers[row.opcode] = row.handler;
    return handlers;
  }
  static const std::array<Handler, 256> kHandlers;

  Pickle& pickle_;
  ByteCursor cursor_;
  std::span<const PickleGlobal> allowed_;
  std::vector<PickleRef> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint32_t, PickleRef> memo_;
  bool stopped_ = false;
};

constexpr std::array<PickleReader::Handler, 256> PickleReader::kHandlers = make_handlers();

Pickle::Pickle(std::span<const std::byte> bytes, std::span<const PickleGlobal> allowed,
               const std::string& source) {
  PickleReader(*this, bytes, allowed, source).run();
}

}  // namespace qwodel
