#include "pipeline/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace qwodel {

std::uint64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;  // Linux counts in kilobytes
}

std::uint64_t resident_memory() {
  std::uint64_t total = 0;
  std::uint64_t resident = 0;  // in pages
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace qwodel
