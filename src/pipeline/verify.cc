#include <fmt/format.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include "codecs/codec.h"
#include "formats/checkpoint.h"
#include "formats/mlpackage/package.h"
#include "io/mapped_file.h"
#include "kernels/convert.h"
#include "kernels/error_sums.h"
#include "pipeline/mlpackage_report.h"
#include "pipeline/progress_meter.h"
#include "pipeline/source_model.h"
#include "qwodel/inspect.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kChunkValues = std::uint64_t{1} << 18;  // a multiple of every block size

[[noreturn]] void fail(const std::string& where, std::string found, std::string expected) {
  throw ValidationError({.where = where,
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = "quantize the model again"},
                        ErrorCode::verification_failed);
}

// Decodes one tensor in chunks, checks that its values are finite and compares them with the
// source.
ErrorSums check_tensor(const std::filesystem::path& path, const WeightTensor& tensor,
                       const ModelTensorReader* source) {
  ErrorSums sums;
  const std::uint64_t count = element_count(tensor.shape());
  std::vector<float> values;
  std::vector<float> original;
  for (std::uint64_t first = 0; first < count; first += kChunkValues) {
    values.resize(static_cast<std::size_t>(std::min(kChunkValues, count - first)));
    tensor.read(first, values);
    const std::size_t at = find_non_finite(values.data(), values.size());
    if (at < values.size()) {
      fail(fmt::format("{}: tensor {}", path.string(), tensor.name()),
           fmt::format("{} at value {}", values[at], first + at), "finite values");
    }
    if (source != nullptr) {
      original.resize(values.size());
      source->read(first, original);
      sums.add(error_sums(original.data(), values.data(), values.size()));
      for (const auto part : source->storage(first, values.size())) drop_pages(part);
    }
    for (const auto part : tensor.storage(first, values.size())) drop_pages(part);
  }
  return sums;
}

std::unique_ptr<Checkpoint> open_artifact(const std::filesystem::path& path) {
  try {
    return open_checkpoint(path);
  } catch (const ValidationError& error) {
    throw ValidationError({.where = error.what(), .found = "", .expected = "", .remedy = ""},
                          ErrorCode::verification_failed);
  }
}

// The source's tensor for each of the artifact's, in the artifact's order.
std::vector<const ModelTensorReader*> match_source(const std::filesystem::path& path,
                                                   const Weights& artifact,
                                                   const SourceModel& source) {
  std::vector<const ModelTensorReader*> readers(artifact.tensors().size());
  for (std::size_t i = 0; i < source.spec.tensors.size(); ++i) {
    const ModelTensor& expected = source.spec.tensors[i];
    const auto found = std::find_if(artifact.tensors().begin(), artifact.tensors().end(),
                                    [&](const auto& t) { return t->name() == expected.name; });
    if (found == artifact.tensors().end()) {
      fail(path.string(), fmt::format("no tensor {}", expected.name), "every tensor of the source");
    }
    if ((*found)->shape() != expected.shape) {
      fail(fmt::format("{}: tensor {}", path.string(), expected.name),
           shape_text((*found)->shape()), shape_text(expected.shape));
    }
    readers[static_cast<std::size_t>(found - artifact.tensors().begin())] = &source.readers[i];
  }
  for (std::size_t i = 0; i < readers.size(); ++i) {
    if (readers[i] == nullptr) {
      fail(path.string(), fmt::format("tensor {}", artifact.tensors()[i]->name()),
           "only tensors of the source");
    }
  }
  return readers;
}

}  // namespace

VerifyReport verify(const VerifyOptions& options) {
  if (is_mlpackage(options.artifact)) return verify_mlpackage(options);
  const auto checkpoint = open_artifact(options.artifact);
  const auto& metadata = checkpoint->gguf_metadata();
  if (metadata && !metadata->find_string("general.architecture")) {
    fail(options.artifact.string(), "no general.architecture", "the metadata of a model");
  }
  const Weights weights(*checkpoint);
  std::unique_ptr<SourceModel> source;
  std::vector<const ModelTensorReader*> originals(weights.tensors().size());
  if (!options.source.empty()) {
    source = std::make_unique<SourceModel>(
        options.source, ModelOptions{options.arch_as, options.tokenizer_pre, ""});
    originals = match_source(options.artifact, weights, *source);
  }
  VerifyReport report;
  report.path = options.artifact;
  for (const TensorInfo& tensor : checkpoint->tensors()) report.bytes += tensor.bytes.size();
  for (const auto& tensor : weights.tensors()) {
    report.tensors.push_back({tensor->name(), std::string(info(tensor->type()).name), {}});
  }
  ProgressMeter meter("verify", report.bytes, &options.progress, options.cancel);
  std::mutex meter_lock;
  const int threads = options.threads > 0
                          ? options.threads
                          : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const tbb::global_control parallelism(tbb::global_control::max_allowed_parallelism,
                                        static_cast<std::size_t>(threads));
  tbb::parallel_for(std::size_t{0}, weights.tensors().size(), [&](std::size_t i) {
    const ErrorSums sums = check_tensor(options.artifact, *weights.tensors()[i], originals[i]);
    if (originals[i] != nullptr) report.tensors[i].nmse = sums.nmse();
    const std::lock_guard lock(meter_lock);
    meter.advance(weights.tensors()[i]->raw().size());
  });
  meter.finish();
  return report;
}

}  // namespace qwodel
