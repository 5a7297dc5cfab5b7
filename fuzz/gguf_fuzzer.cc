#include "formats/gguf_reader.h"

#include "fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const qwodel::MemoryFile memory(data, size);
  return qwodel::fuzz([&] {
    const qwodel::MappedFile file(memory.path());
    qwodel::check_tensors(qwodel::read_gguf(file).tensors);
  });
}
