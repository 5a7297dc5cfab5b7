// What quantize and plan print of their report.
#pragma once

#include <nlohmann/json.hpp>

#include "qwodel/quantize.h"

namespace qwodel::cli {

nlohmann::ordered_json to_json(const QuantizeReport& report);

// A line on stderr: what a run will make and take.
void print_forecast(const QuantizeReport& plan);

// Sizes and paths, the linears whose outputs lost most; of a plan, or when `verbose`, every tensor.
void print_report(const QuantizeReport& report, bool is_plan, bool verbose);

}  // namespace qwodel::cli
