// The threads that run an executor's tasks.
#pragma once

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#include <tbb/task_scheduler_observer.h>

#include <cstddef>

namespace qwodel {

// A TBB arena in which oneDNN stays single-threaded: Debian's build uses OpenMP and would start
// threads of its own in every task.
class TaskThreads {
 public:
  explicit TaskThreads(int threads);

  int count() const { return arena_.max_concurrency(); }

  // Calls body(i) for every i < count, in any order and from several threads; one task each.
  // Rethrows the first exception. The caller takes part.
  template <class Body>
  void run(std::size_t count, const Body& body) const {
    if (count == 0) return;
    arena_.execute([&] {
      tbb::parallel_for(
          tbb::blocked_range<std::size_t>(0, count, 1),
          [&](const tbb::blocked_range<std::size_t>& range) {
            for (std::size_t i = range.begin(); i < range.end(); ++i) body(i);
          },
          tbb::simple_partitioner());
    });
  }

  // Calls body() once, with these threads for the parallel algorithms of TBB inside it.
  template <class Body>
  void execute(const Body& body) const {
    arena_.execute(body);
  }

 private:
  class SingleThreadedOpenMp : public tbb::task_scheduler_observer {
   public:
    explicit SingleThreadedOpenMp(tbb::task_arena& arena);
    ~SingleThreadedOpenMp() override;
    void on_scheduler_entry(bool is_worker) override;
    void on_scheduler_exit(bool is_worker) override;
  };

  mutable tbb::task_arena arena_;
  SingleThreadedOpenMp observer_;
};

}  // namespace qwodel
