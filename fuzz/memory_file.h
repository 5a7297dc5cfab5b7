// The fuzzer's bytes as a file with a path, in memory.
#pragma once

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "core/tensor_type.h"
#include "formats/tensor_info.h"
#include "qwodel/error.h"

namespace qwodel {

class MemoryFile {
 public:
  MemoryFile(const std::uint8_t* data, std::size_t size) : file_(::memfd_create("fuzz", 0)) {
    if (file_ < 0 || ::write(file_, data, size) != static_cast<ssize_t>(size)) std::abort();
  }
  ~MemoryFile() { ::close(file_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::filesystem::path path() const { return fmt::format("/proc/self/fd/{}", file_); }

 private:
  int file_;
};

// Aborts when a tensor that a reader accepted is not as its type and shape say; reads every byte.
inline void check_tensors(const std::vector<TensorInfo>& tensors) {
  unsigned sum = 0;
  for (const TensorInfo& tensor : tensors) {
    const auto bytes = bytes_of(tensor.type, element_count(tensor.shape));
    if (!bytes || *bytes != tensor.bytes.size()) std::abort();
    for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
  }
  volatile unsigned used = sum;
  (void)used;
}

// Errors of the library are what a reader is meant to throw; anything else ends the run.
template <class Read>
int fuzz(Read read) {
  try {
    read();
  } catch (const Error&) {
  }
  return 0;
}

}  // namespace qwodel
