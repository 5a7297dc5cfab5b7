#include "graph/task_threads.h"

#include <dlfcn.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#include <tbb/task_scheduler_observer.h>

namespace qwodel {
namespace {

// The OpenMP runtime that oneDNN was built with, if any; looked up because a program that does not
// use OpenMP itself need not be linked with one.
struct OpenMp {
  int (*get_max_threads)() = nullptr;
  void (*set_num_threads)(int) = nullptr;
};

const OpenMp& open_mp() {
  static const OpenMp functions = [] {
    OpenMp found;
    found.get_max_threads = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_max_threads"));
    found.set_num_threads =
        reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
    if (found.get_max_threads == nullptr || found.set_num_threads == nullptr) found = {};
    return found;
  }();
  return functions;
}

// What the thread had before it entered the arena; OpenMP keeps this per thread.
thread_local int threads_before = 0;

class SingleThreadedOpenMp : public tbb::task_scheduler_observer {
 public:
  explicit SingleThreadedOpenMp(tbb::task_arena& arena) : task_scheduler_observer(arena) {
    observe(true);
  }
  ~SingleThreadedOpenMp() override { observe(false); }

  void on_scheduler_entry(bool) override {
    if (open_mp().set_num_threads == nullptr) return;
    threads_before = open_mp().get_max_threads();
    open_mp().set_num_threads(1);
  }

  void on_scheduler_exit(bool) override {
    if (open_mp().set_num_threads == nullptr || threads_before == 0) return;
    open_mp().set_num_threads(threads_before);
  }
};

}  // namespace

struct TaskThreads::Arena {
  explicit Arena(int threads)
      : tasks(threads > 0 ? threads : tbb::task_arena::automatic), observer(tasks) {
    tasks.initialize();
  }

  tbb::task_arena tasks;
  SingleThreadedOpenMp observer;
};

TaskThreads::TaskThreads(int threads) : arena_(std::make_unique<Arena>(threads)) {}

TaskThreads::~TaskThreads() = default;

int TaskThreads::count() const { return arena_->tasks.max_concurrency(); }

void TaskThreads::run(std::size_t count, const std::function<void(std::size_t)>& body) const {
  if (count == 0) return;
  arena_->tasks.execute([&] {
    tbb::parallel_for(
        tbb::blocked_range<std::size_t>(0, count, 1),
        [&](const tbb::blocked_range<std::size_t>& range) {
          for (std::size_t i = range.begin(); i < range.end(); ++i) body(i);
        },
        tbb::simple_partitioner());
  });
}

void TaskThreads::execute(const std::function<void()>& body) const { arena_->tasks.execute(body); }

}  // namespace qwodel
