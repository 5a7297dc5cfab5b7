// Python pickles read as data. Nothing is ever imported, called or executed: a global is only a row
// of the caller's allow-list, and a call only a record of which row was called with which values.
//
// Opcodes: Python's Lib/pickletools.py. Those of protocols 2 to 5 that a torch checkpoint uses are
// known here; every other one is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qwodel {

struct PickleGlobal {
  std::string_view module;
  std::string_view name;
  bool makes_dict = false;  // calling it makes an empty dict: collections.OrderedDict
};

// Values refer to each other by position in the document; a document may contain cycles.
using PickleRef = std::uint32_t;

struct PickleValue {
  enum class Kind : std::uint8_t {
    none,
    boolean,
    integer,
    real,
    text,
    bytes,
    tuple,
    list,
    dict,
    global,
    call,
    persistent,
  };
  Kind kind = Kind::none;
  std::int64_t integer = 0;      // integer, boolean; row of the allow-list for global and call
  std::string_view text;         // text and bytes, in the pickle itself
  std::vector<PickleRef> items;  // tuple, list; key, value, key, value of a dict; arguments of a
                                 // call; the one id of a persistent value
};

class Pickle {
 public:
  // Throws ValidationError for a damaged pickle, FormatNotSupportedError (naming it) for a global
  // that is not in `allowed` or an opcode that is not known. `bytes` must outlive the object.
  Pickle(std::span<const std::byte> bytes, std::span<const PickleGlobal> allowed,
         const std::string& source);

  PickleRef root() const { return root_; }
  const PickleValue& operator[](PickleRef ref) const { return values_[ref]; }

 private:
  friend class PickleReader;
  std::vector<PickleValue> values_;
  PickleRef root_ = 0;
};

}  // namespace qwodel
