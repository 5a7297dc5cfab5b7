// Puts operations into a MIL program: names, constants, declared types.
//
// What is here follows the program that Apple's own converter would write: every parameter of an
// operation is a constant bound by name, each distinct constant exists once, every operation has a
// name attribute and nothing else.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/mlpackage/blob_file.h"
#include "formats/mlpackage/model.pb.h"

namespace qwodel {

inline constexpr std::int64_t kFlexible = -1;  // an extent known at run time only

using MilDims = std::vector<std::int64_t>;  // outermost first

// A tensor of the program.
struct MilValue {
  std::string name;
  mil::DataType type = mil::FLOAT16;
  MilDims dims;
};

// The versions of Core ML that programs are made for.
struct MilVersion {
  std::string_view name;    // "ios18"
  std::string_view system;  // "iOS 18, macOS 15"
  std::string_view opset;   // "CoreML8"
  int specification = 0;
};

// Oldest first.
const std::vector<MilVersion>& mil_versions();

class MilBuilder {
 public:
  using Arguments = std::initializer_list<std::pair<std::string_view, MilValue>>;

  explicit MilBuilder(const MilVersion& version);

  int specification() const { return version_.specification; }

  // Prefix of the names that follow: "layer_0". Names are made unique.
  void set_scope(std::string scope) { scope_ = std::move(scope); }

  MilValue input(const std::string& name, mil::DataType type, const MilDims& dims);
  MilValue state(const std::string& name, const MilDims& dims);

  // Parameters. A half is rounded to nearest.
  MilValue integer(std::int32_t value);
  MilValue integers(const std::vector<std::int32_t>& values);
  MilValue integers(const std::vector<std::int32_t>& values, const MilDims& dims);
  MilValue flag(bool value);
  MilValue flags(const std::vector<bool>& values);
  MilValue text(const std::string& value);
  MilValue half(float value);
  MilValue single(float value);
  MilValue halves(const std::vector<std::uint16_t>& bits, const MilDims& dims);

  // A constant whose values are a blob of the weight file.
  MilValue stored(std::string_view name, mil::DataType type, const MilDims& dims, const Blob& blob);

  // Parameters of a compressed weight, each with its stored or literal value.
  struct Part {
    std::string_view parameter;
    mil::Value value;
  };
  MilValue compressed(std::string_view type, std::string_view name, const std::vector<Part>& parts,
                      const MilDims& dims);
  static mil::Value blob_value(mil::DataType type, const MilDims& dims, const Blob& blob);
  static mil::Value integer_value(mil::DataType type, const std::vector<std::uint32_t>& values);

  // An operation of one result. `name` may have characters that names may not have.
  MilValue op(std::string_view type, std::string_view name, Arguments arguments,
              mil::DataType result, const MilDims& dims);
  // One whose parameter `values` is a list.
  MilValue concat(std::string_view name, const std::vector<MilValue>& values, std::int32_t axis,
                  const MilDims& dims);
  // state := value.
  void write_state(const MilValue& state, const MilValue& value);

  void output(const MilValue& value);

  // The program; the builder is empty afterwards.
  mil::Program finish();

 private:
  std::string unique_name(std::string_view hint);
  mil::Operation& add(std::string_view type, const std::string& name);
  MilValue constant(std::string_view hint, mil::Value value, mil::DataType type,
                    const MilDims& dims);

  MilVersion version_;
  mil::Function function_;
  mil::Block block_;
  std::string scope_;
  std::set<std::string, std::less<>> names_;
  std::map<std::string, int, std::less<>> counters_;
  std::map<std::string, MilValue> constants_;  // by the bytes of their value
};

// The name with _ for everything that names may not have: "blk_0_attn_q_weight". The first constant
// of a name is called so.
std::string mil_identifier(std::string_view name);

// [a, b, ...] broadcast against each other. REQUIRES: they can be.
MilDims broadcast(const MilDims& a, const MilDims& b);

}  // namespace qwodel
