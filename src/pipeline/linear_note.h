// What the journal of an unfinished artifact keeps of a linear's report, for the run that resumes.
#pragma once

#include "io/json_fwd.h"
#include "qwodel/quantize.h"

namespace qwodel {

Json to_note(const TensorReport& row);

// Sets what the note has, the rest of the row stays.
void read_note(const Json& note, TensorReport& row);

}  // namespace qwodel
