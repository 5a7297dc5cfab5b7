#!/usr/bin/env bash
# Builds the distribution's oneTBB with ThreadSanitizer into build/tsan_tbb/install. The packaged binary is not
# instrumented: its synchronisation is invisible, and every hand-over between threads looks like a race.
# The source package comes through apt with lists of its own; nothing of the system is changed.
set -euo pipefail
cd "$(dirname "$0")/.."
place=$PWD/build/tsan_tbb
[ -e "$place/install/lib/cmake/TBB/TBBConfig.cmake" ] && exit 0
mkdir -p "$place/lists/partial" "$place/source"

# The system's own sources of packages, asked for source packages.
cat /etc/apt/sources.list.d/{debian,ubuntu}.sources 2> /dev/null | sed 's/^Types:.*/Types: deb-src/' \
  > "$place/source.sources" || true
own=(-o "Dir::Etc::sourcelist=$place/source.sources" -o Dir::Etc::sourceparts=/dev/null
     -o "Dir::State::lists=$place/lists")
apt-get "${own[@]}" update
(cd "$place" && apt-get "${own[@]}" source --download-only onetbb)
tar xJf "$place"/onetbb_*.orig.tar.xz -C "$place/source" --strip-components=1

# -Wno-tsan: ThreadSanitizer does not model fences, and gcc says so at each of them.
cmake -S "$place/source" -B "$place/build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTBB_TEST=OFF \
  -DTBB_STRICT=OFF -DTBB_SANITIZE=thread -DCMAKE_CXX_FLAGS=-Wno-tsan -DTBBMALLOC_BUILD=OFF \
  -DCMAKE_INSTALL_PREFIX="$place/install" -DCMAKE_INSTALL_LIBDIR=lib
cmake --build "$place/build"
cmake --install "$place/build"
