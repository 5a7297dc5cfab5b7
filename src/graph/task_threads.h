// The threads that run an executor's tasks.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace qwodel {

// A TBB arena in which oneDNN stays single-threaded: Debian's build uses OpenMP and would start
// threads of its own in every task.
class TaskThreads {
 public:
  explicit TaskThreads(int threads);
  ~TaskThreads();

  int count() const;

  // Calls body(i) for every i < count, in any order and from several threads; one task each.
  // Rethrows the first exception. The caller takes part.
  void run(std::size_t count, const std::function<void(std::size_t)>& body) const;

  // Calls body() once, with these threads for the parallel algorithms of TBB inside it.
  void execute(const std::function<void()>& body) const;

 private:
  struct Arena;  // keeps TBB out of this header
  std::unique_ptr<Arena> arena_;
};

}  // namespace qwodel
