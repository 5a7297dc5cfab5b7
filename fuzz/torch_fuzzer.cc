#include "formats/torch_file.h"

#include "fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const qwodel::MemoryFile memory(data, size);
  return qwodel::fuzz([&] {
    const qwodel::MappedFile file(memory.path());
    const qwodel::TorchFile read = qwodel::read_torch_file(file);
    qwodel::check_tensors(read.tensors);
  });
}
