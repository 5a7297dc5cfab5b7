// What the processors of Apple's devices make of a Core ML package: it loads, but a part of it may
// be refused by the Neural Engine, or be slower than another form.
//
// Adding a rule: a row in device_rules.cc, with the place it was read in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plan/target_rules.h"

namespace qwodel {

struct PackagedWeight {
  std::string name = {};
  std::string type;              // "int4-b32"
  std::uint64_t block = 0;       // columns that share a scale; 0: all, or no scales
  std::uint64_t table_rows = 0;  // rows that share a table; 0: no tables
  std::uint64_t bytes = 0;
};

struct PackageFacts {
  bool is_encoder = false;
  bool any_length = true;                        // a call may have any number of tokens
  std::vector<std::uint64_t> state_widths = {};  // of keys and values; none: no states
  std::uint64_t bytes = 0;                       // of all weights
  std::vector<PackagedWeight> weights = {};
};

// "ane", "gpu", "cpu".
bool is_device(std::string_view name);

// What breaks a rule of the device; one finding per rule, all of them warnings.
std::vector<Finding> check_device(std::string_view device, const PackageFacts& facts);

}  // namespace qwodel
