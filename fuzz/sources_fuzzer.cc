// Quantized checkpoints: the input is a config.json, a zero byte and a safetensors file.
#include <algorithm>
#include <vector>

#include "formats/safetensors.h"
#include "fuzz/memory_file.h"
#include "sources/weights.h"

namespace {

// A checkpoint of a few kilobytes may claim a lot by one scale that stands for many values.
constexpr std::uint64_t kMostValues = 1 << 16;

void read_all(const qwodel::Weights& weights) {
  for (const auto& tensor : weights.tensors()) {
    const std::uint64_t count = std::min(qwodel::element_count(tensor->shape()), kMostValues);
    std::vector<float> values(count);
    tensor->read(0, values);
    if (count > 3) tensor->read(count / 3, std::span(values).first(count - count / 3));
    for (const auto part : tensor->storage(0, count)) (void)part;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* end = std::find(data, data + size, std::uint8_t{0});
  if (end == data + size) return 0;
  const std::string_view config(reinterpret_cast<const char*>(data),
                                static_cast<std::size_t>(end - data));
  const qwodel::MemoryFile memory(end + 1, static_cast<std::size_t>(data + size - end - 1));
  return qwodel::fuzz([&] {
    qwodel::Checkpoint::Contents contents;
    contents.directory = "/nowhere";
    contents.config = qwodel::parse_json(config, "config.json");
    contents.files.emplace_back(memory.path());
    contents.tensors = qwodel::read_safetensors(contents.files.back());
    const qwodel::Checkpoint checkpoint(std::move(contents));
    read_all(qwodel::Weights(checkpoint));
  });
}
