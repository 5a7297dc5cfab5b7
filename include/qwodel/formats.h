// What Qwodel can write, and which of it suits a model and a device.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "qwodel/error.h"

namespace qwodel {

struct BackendInfo {
  std::string name;      // "gguf"
  std::string runtimes;  // what loads its artifacts
  std::string formats;   // in a few words, for a backend that is not built yet
  bool available = false;
};

struct FormatInfo {
  std::string name;  // "Q4_K_M"
  std::string summary;
  double bits_per_weight = 0;  // of the type most tensors get
};

std::vector<BackendInfo> list_backends();

// Throws FormatNotSupportedError for an unknown backend.
std::vector<FormatInfo> list_formats(const std::string& backend);

// What the program runs on: version, SIMD target, libraries.
struct CheckReport {
  std::string version;
  std::string kernel_target;
  std::vector<std::string> kernel_targets;
  int cores = 0;
};
CheckReport check();

struct RecommendOptions {
  std::filesystem::path model;
  std::string device = "cpu";    // cpu, nvidia, iphone, mac
  std::uint64_t memory = 0;      // bytes the device has for the model; 0: unknown
  std::uint64_t context = 8192;  // tokens the cache must hold
};

struct Recommendation {
  std::string target;              // "gguf:Q4_K_M"
  std::uint64_t weight_bytes = 0;  // predicted size of the weights
  std::uint64_t memory_bytes = 0;  // with the key/value cache for the context and working space
  bool fits = true;
  bool available = true;  // this version can write it
  std::string reason;     // two sentences
  std::string command;    // to run
};

Recommendation recommend(const RecommendOptions& options);

}  // namespace qwodel
