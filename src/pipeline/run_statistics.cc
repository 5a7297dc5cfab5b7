#include "pipeline/run_statistics.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "io/json.h"
#include "qwodel/calibrate.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// What the statistics depend on.
std::string settings_of(const QuantizeOptions& options) {
  std::error_code ignored;
  const auto time = [&](const std::filesystem::path& file) {
    return std::filesystem::last_write_time(file, ignored).time_since_epoch().count();
  };
  const Json settings = {
      {"model", std::filesystem::absolute(options.model).string()},
      {"model_time", time(options.model)},
      {"text", options.calibration.text},
      {"text_bytes", std::filesystem::file_size(options.calibration.text, ignored)},
      {"text_time", time(options.calibration.text)},
      {"samples", options.calibration.samples},
      {"seq_len", options.calibration.seq_len},
      {"compute", options.compute},
      {"max_memory", options.max_memory}};
  return settings.dump();
}

}  // namespace

RunStatistics::RunStatistics(const QuantizeOptions& options)
    : path_(options.output.parent_path() /
            fmt::format(".{}.qstats", options.output.filename().string())),
      text_(options.calibration.text) {
  const auto settings = path_.string() + ".json";
  const std::string key = settings_of(options);
  if (options.resume && std::filesystem::exists(path_) && read_text(settings) == key) return;
  CalibrateOptions calibration;
  calibration.run.model = options.model;
  calibration.run.arch_as = options.arch_as;
  calibration.run.compute = options.compute;
  calibration.run.threads = options.threads;
  calibration.run.max_memory = options.max_memory;
  calibration.run.progress = options.progress;
  calibration.run.cancel = options.cancel;
  calibration.calibration = options.calibration;
  calibration.output = path_;
  calibration.force = true;
  calibration.resume = options.resume && read_text(settings) == key;
  std::ofstream(settings, std::ios::trunc) << key;
  try {
    calibrate(calibration);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::interrupted) remove();
    throw;
  }
}

RunStatistics::~RunStatistics() {
  if (!kept_) remove();
}

void RunStatistics::remove() const {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
  std::filesystem::remove(path_.string() + ".json", ignored);
}

}  // namespace qwodel
