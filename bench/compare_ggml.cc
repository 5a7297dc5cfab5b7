// Our codecs beside ggml's own functions, in one process, on the same rows, one thread:
//
//   compare_ggml path/to/libggml-base.so.0 [TYPE ...]
//
// Runs of both sides alternate; a figure is the median of thread CPU time per value. Bytes and
// decoded values must be equal, else the row says so.
#include <dlfcn.h>
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "bench/rows.h"
#include "codecs/codec.h"
#include "core/tensor_type.h"
#include "kernels/dispatch.h"

namespace qwodel {
namespace {

constexpr std::size_t kRows = 16;

// Of ggml.h (MIT, "The ggml authors").
struct GgmlTypeTraits {
  const char* type_name;
  std::int64_t block_size;
  std::int64_t block_size_interleave;
  std::size_t type_size;
  bool is_quantized;
  void (*to_float)(const void* in, float* out, std::int64_t count);
  void (*from_float)(const float* in, void* out, std::int64_t count);
};

struct Ggml {
  std::size_t (*quantize_chunk)(int type, const float* values, void* out, std::int64_t start,
                                std::int64_t rows, std::int64_t cols, const float* importance);
  const GgmlTypeTraits* (*type_traits)(int type);
};

template <class Function>
void find_function(void* library, const char* name, Function& function) {
  void* const address = dlsym(library, name);
  static_assert(sizeof(address) == sizeof(function));
  std::memcpy(&function, &address, sizeof(address));
}

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Seconds of one call, of as many calls as fill a millisecond.
double seconds_of(const std::function<void()>& work) {
  int calls = 0;
  const double start = thread_seconds();
  double elapsed = 0;
  do {
    work();
    ++calls;
    elapsed = thread_seconds() - start;
  } while (elapsed < 1e-3);
  return elapsed / calls;
}

struct Medians {
  double theirs, ours;
};

Medians alternate(const std::function<void()>& theirs, const std::function<void()>& ours) {
  constexpr std::size_t kRuns = 11;
  std::vector<double> a, b;
  theirs();
  ours();
  for (std::size_t i = 0; i < kRuns; ++i) {
    a.push_back(seconds_of(theirs));
    b.push_back(seconds_of(ours));
  }
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  return {a[kRuns / 2], b[kRuns / 2]};
}

class Comparison {
 public:
  explicit Comparison(const Ggml& ggml)
      : ggml_(ggml), values_(bench_values(kRows)), importance_(bench_importance()) {}

  void encode(const Codec& codec, bool weighted) const {
    const int id = info(codec.type).ggml_id;
    const float* const importance = weighted ? importance_.data() : nullptr;
    std::vector<std::byte> theirs(bytes_of(codec.type, values_.size()).value()), ours(theirs);
    const Medians medians = alternate(
        [&] {
          ggml_.quantize_chunk(id, values_.data(), theirs.data(), 0, kRows, kBenchCols, importance);
        },
        [&] { codec.encode(values_.data(), kRows, kBenchCols, importance, ours.data()); });
    print(codec, weighted ? "encode, importance" : "encode", medians, theirs == ours);
  }

  void decode(const Codec& codec) const {
    const GgmlTypeTraits* const traits = ggml_.type_traits(info(codec.type).ggml_id);
    if (traits->to_float == nullptr) return;
    std::vector<std::byte> bytes(bytes_of(codec.type, values_.size()).value());
    codec.encode(values_.data(), kRows, kBenchCols, importance_.data(), bytes.data());
    std::vector<float> theirs(values_.size()), ours(values_.size());
    const auto count = static_cast<std::int64_t>(theirs.size());
    const Medians medians =
        alternate([&] { traits->to_float(bytes.data(), theirs.data(), count); },
                  [&] { codec.decode(bytes.data(), ours.size(), ours.data()); });
    const bool equal = std::memcmp(theirs.data(), ours.data(), 4 * ours.size()) == 0;
    print(codec, "decode", medians, equal);
  }

 private:
  void print(const Codec& codec, const char* what, Medians medians, bool equal) const {
    const double scale = 1e9 / static_cast<double>(values_.size());
    fmt::print("{:8} | {:18} | {:8.3f} | {:8.3f} | {:6.2f}{}\n", info(codec.type).name, what,
               medians.theirs * scale, medians.ours * scale, medians.theirs / medians.ours,
               equal ? "" : "  DIFFERENT BYTES");
    std::fflush(stdout);
  }

  const Ggml& ggml_;
  std::vector<float> values_;
  std::vector<float> importance_;
};

int run(int argc, char** argv) {
  void* const library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : nullptr;
  if (library == nullptr) {
    fmt::print(stderr, "usage: compare_ggml path/to/libggml-base.so.0 [TYPE ...]\n");
    return 2;
  }
  Ggml ggml{};
  find_function(library, "ggml_quantize_chunk", ggml.quantize_chunk);
  find_function(library, "ggml_get_type_traits", ggml.type_traits);
  const std::vector<std::string> chosen(argv + 2, argv + argc);
  const Comparison comparison(ggml);
  fmt::print("kernels: {}; {} rows of {} values, one thread\n", current_kernel_target(), kRows,
             kBenchCols);
  fmt::print("{:8} | {:18} | {:>8} | {:>8} | {:>6}\n", "type", "what", "ggml ns", "ours ns",
             "ratio");
  for (const Codec* codec : codecs()) {
    const std::string name(info(codec->type).name);
    if (name == "F32") continue;
    if (!chosen.empty() && std::find(chosen.begin(), chosen.end(), name) == chosen.end()) continue;
    if (!codec->needs_importance) comparison.encode(*codec, false);
    comparison.encode(*codec, true);
    comparison.decode(*codec);
  }
  return 0;
}

}  // namespace
}  // namespace qwodel

int main(int argc, char** argv) { return qwodel::run(argc, argv); }
