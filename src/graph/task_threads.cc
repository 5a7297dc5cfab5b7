#include "graph/task_threads.h"

#include <dlfcn.h>

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

}  // namespace

TaskThreads::SingleThreadedOpenMp::SingleThreadedOpenMp(tbb::task_arena& arena)
    : task_scheduler_observer(arena) {
  observe(true);
}

TaskThreads::SingleThreadedOpenMp::~SingleThreadedOpenMp() { observe(false); }

void TaskThreads::SingleThreadedOpenMp::on_scheduler_entry(bool) {
  if (open_mp().set_num_threads == nullptr) return;
  threads_before = open_mp().get_max_threads();
  open_mp().set_num_threads(1);
}

void TaskThreads::SingleThreadedOpenMp::on_scheduler_exit(bool) {
  if (open_mp().set_num_threads == nullptr || threads_before == 0) return;
  open_mp().set_num_threads(threads_before);
}

TaskThreads::TaskThreads(int threads)
    : arena_(threads > 0 ? threads : tbb::task_arena::automatic), observer_(arena_) {
  arena_.initialize();
}

}  // namespace qwodel
