// Qwodel: a quantizing compiler for language models. Everything of the public API.
#pragma once

#include "qwodel/calibrate.h"  // IWYU pragma: export
#include "qwodel/error.h"      // IWYU pragma: export
#include "qwodel/evaluate.h"   // IWYU pragma: export
#include "qwodel/formats.h"    // IWYU pragma: export
#include "qwodel/inspect.h"    // IWYU pragma: export
#include "qwodel/progress.h"   // IWYU pragma: export
#include "qwodel/quantize.h"   // IWYU pragma: export
#include "qwodel/run.h"        // IWYU pragma: export
#include "qwodel/tokenize.h"   // IWYU pragma: export
