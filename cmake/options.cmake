# Compile options that every target of this project shares.
add_library(qwodel_options INTERFACE)
target_compile_options(qwodel_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion
  # Same bytes on every machine: a*b+c is never fused (design: numerics).
  -ffp-contract=off)
if(QWODEL_WERROR)
  target_compile_options(qwodel_options INTERFACE -Werror)
endif()
if(QWODEL_PRECOMPILE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 warns of overflows in <string> that it made up. It forgets that a precompiled <string> is
  # a system header, where it would say nothing.
  target_compile_options(qwodel_options INTERFACE
    -Wno-error=array-bounds -Wno-error=stringop-overflow)
endif()
# Headers of other libraries that many sources include, for QWODEL_PRECOMPILE.
set(QWODEL_PRECOMPILED <algorithm> <array> <cstdint> <filesystem> <functional> <map> <memory>
  <optional> <span> <string> <string_view> <utility> <vector> <fmt/format.h> <nlohmann/json.hpp>)
if(QWODEL_SANITIZE)
  target_compile_options(qwodel_options INTERFACE
    -fsanitize=${QWODEL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(qwodel_options INTERFACE -fsanitize=${QWODEL_SANITIZE})
  if(QWODEL_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # AddressSanitizer reports what comes of these, and they make kernels three times as long to compile.
    target_compile_options(qwodel_options INTERFACE
      -fno-sanitize=null,object-size,pointer-overflow)
  endif()
endif()
