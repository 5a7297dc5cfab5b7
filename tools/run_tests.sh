#!/usr/bin/env bash
# Runs the tests: every stage without arguments, or the stages named.
#
#   quick   gcc, warnings are errors, all tests on every kernel target of this machine
#   format  clang-format from PyPI over all sources
#   asan    clang, warnings are errors, all tests under AddressSanitizer and UBSan
#   tsan    the tests that use several threads under ThreadSanitizer, with a oneTBB built for it by
#           tools/build_tsan_tbb.sh (not in the default run: it is slow)
#   tidy    clang-tidy from PyPI over the library (not in the default run: it is slow)
#   fuzz    every libFuzzer target for 60 seconds (not in the default run)
#   oracle  golden files made anew by the reference implementations, whole conversions compared with them, and
#           every fuzz target for 60 seconds (not in the default run; QWODEL_ORACLES and QWODEL_LLAMA_CPP name
#           folders, see tools/oracle/run.sh)
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=$(nproc)

python_tools() {  # a private environment, so that nothing is installed into the system's Python
  [ -x build/tools/bin/clang-format ] && return
  python3 -m venv build/tools
  build/tools/bin/pip install -q clang-format==19.1.7 clang-tidy==19.1.0
}

run_in_shards() {  # all tests of a program, as many processes as cores
  local shard failed=0 pids=()
  for ((shard = 0; shard < jobs; ++shard)); do
    GTEST_TOTAL_SHARDS=$jobs GTEST_SHARD_INDEX=$shard "$1" --gtest_brief=1 &
    pids+=($!)
  done
  for shard in "${pids[@]}"; do wait "$shard" || failed=1; done
  return $failed
}

stage_quick() {
  cmake --preset ci -DQWODEL_PRECOMPILE=ON
  cmake --build --preset ci -j "$jobs"
  run_in_shards build/ci/qwodel_tests
}

stage_format() {
  python_tools
  git ls-files '*.cc' '*.h' | xargs build/tools/bin/clang-format --dry-run -Werror
}

stage_asan() {
  # A kernel is one source for all targets, and the quick stage builds and compares them: the widest
  # that this machine has and the scalar one are enough here, and half the time of this build is saved.
  local disabled=""
  if grep -qw avx512bw /proc/cpuinfo; then
    disabled="HWY_SSE4|HWY_AVX2"
  elif grep -qw avx2 /proc/cpuinfo; then
    disabled="HWY_SSE4|HWY_AVX3"
  fi
  cmake --preset asan -DQWODEL_PRECOMPILE=ON "-DQWODEL_DISABLED_TARGETS=$disabled"
  cmake --build --preset asan -j "$jobs" --target qwodel_tests qwodel
  local suppressions="suppressions=$PWD/tools/leak_suppressions.txt:print_suppressions=0"
  ASAN_OPTIONS=detect_leaks=1 LSAN_OPTIONS=$suppressions UBSAN_OPTIONS=print_stacktrace=1 \
    run_in_shards build/asan/qwodel_tests
}

stage_tsan() {
  tools/build_tsan_tbb.sh
  cmake --preset tsan -DCMAKE_PREFIX_PATH="$PWD/build/tsan_tbb/install"
  cmake --build --preset tsan -j "$jobs" --target qwodel_tests qwodel
  build/tsan/qwodel_tests --gtest_brief=1 --gtest_filter='Pipeline*:*AtomicFile*:CommandLine*:BadPlace*:*Thread*'
}

stage_tidy() {
  python_tools
  cmake --preset clang
  cmake --build --preset clang -j "$jobs" --target qwodel_generated
  git ls-files 'src/*.cc' 'cli/*.cc' | xargs -P "$jobs" -n 4 build/tools/bin/clang-tidy -p build/clang --quiet \
    --extra-arg=-Wno-deprecated-declarations  # of libstdc++ 12 itself, in std::stable_sort
}

stage_fuzz() { tools/run_fuzzers.sh 60; }

stage_oracle() {
  tools/oracle/run.sh "$QWODEL_ORACLES" "$QWODEL_LLAMA_CPP" "${QWODEL_SHARED:-../shared}"
  tools/run_fuzzers.sh 60
}

tools/install_packages.sh
if [ $# -gt 0 ]; then
  for stage in "$@"; do "stage_$stage"; done
else
  stage_format
  stage_asan
  stage_quick
fi
