// Whether a sanitizer watches the tests.
//
// It makes them several times as slow. Tests that send much data down one path, to compare it,
// send a part of it there: the same code runs, and the run without compares all.
#pragma once

#include <cstddef>

namespace qwodel {

#if defined(__has_feature)
inline constexpr bool kSanitized =
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// One of how many cases is done.
constexpr std::size_t one_of(std::size_t sanitized) { return kSanitized ? sanitized : 1; }

}  // namespace qwodel
