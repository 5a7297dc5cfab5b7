// One artifact of a run: planned when it is made, written by run().
//
// Adding a kind of artifact: a class derived from ArtifactJob and a row in make_job (quantize.cc).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pipeline/source_model.h"
#include "qwodel/quantize.h"
#include "targets/target.h"

namespace qwodel {

// What a run will take, foretold.
struct Forecast {
  std::uint64_t peak_memory_bytes = 0;  // resident, as peak_memory() counts it
  double encode_seconds = 0;            // on all threads; not what the disk adds
  double statistics_seconds = 0;        // of a pass that all targets of a run share
};

class ArtifactJob {
 public:
  virtual ~ArtifactJob() = default;

  // Path, tensors, types, reasons and bytes; no errors yet.
  virtual ArtifactReport report() const = 0;
  virtual std::vector<std::string> warnings() const { return {}; }

  // Throws DependencyError when something is at the artifact's path and may not be replaced.
  virtual void refuse_existing() const = 0;

  // Whether the whole artifact is at its path.
  virtual bool is_there() const = 0;

  // Whether run() wants QuantizeOptions::statistics.
  virtual bool needs_statistics() const { return false; }

  // Whether run() wants QuantizeOptions::calibration, if there are no statistics.
  virtual bool needs_calibration() const { return false; }

  virtual Forecast forecast() const = 0;

  // Writes and verifies the artifact; fills in what was measured.
  virtual void run(ArtifactReport& report) const = 0;
};

// `threads` of the options, or one per core. Throws Error (usage) for a negative number.
int thread_count(const QuantizeOptions& options);

// Throws Error (usage).
[[noreturn]] void refuse_option(std::string where, std::string found, std::string expected);

}  // namespace qwodel
