// Errors of the library: exceptions derived from qwodel::Error, one sentence each.
//
// The library never prints, exits or aborts on input; a program catches Error, shows what() and
// maps code() to its exit status.
#pragma once

#include <stdexcept>
#include <string>

namespace qwodel {

// Why an operation ended; the values are the exit codes of the command line.
enum class ErrorCode : int {
  failed = 1,               // bad input, or an operation that could not be completed
  usage = 2,                // the request itself is wrong
  not_supported = 3,        // a model, type or format that Qwodel does not know
  not_enough_space = 4,     // memory or disk
  verification_failed = 5,  // an artifact was read back and is not what was planned
  network = 6,              // download or access
  interrupted = 130,        // cancelled by the caller
};

// The parts of a message. `where` names a file, tensor or option; empty parts are left out.
struct Problem {
  std::string where;
  std::string found;
  std::string expected;
  std::string remedy;
};

// The sentence made of the parts: "WHERE: found X, expected Y; REMEDY".
std::string to_sentence(const Problem& problem);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const Problem& problem);

  ErrorCode code() const noexcept { return code_; }
  const std::string& remedy() const noexcept { return remedy_; }

 private:
  ErrorCode code_;
  std::string remedy_;
};

// Numbers could not be quantized: not finite, out of range, a failed factorization.
class QuantizationError : public Error {
 public:
  explicit QuantizationError(const Problem& problem, ErrorCode code = ErrorCode::failed)
      : Error(code, problem) {}
};

// Input or an artifact is not what its format promises.
class ValidationError : public Error {
 public:
  explicit ValidationError(const Problem& problem, ErrorCode code = ErrorCode::failed)
      : Error(code, problem) {}
};

// The machine lacks something: a file, space, permission, a library.
class DependencyError : public Error {
 public:
  explicit DependencyError(const Problem& problem, ErrorCode code = ErrorCode::failed)
      : Error(code, problem) {}
};

// A model class, tensor type, target or file format that Qwodel does not know.
class FormatNotSupportedError : public Error {
 public:
  explicit FormatNotSupportedError(const Problem& problem,
                                   ErrorCode code = ErrorCode::not_supported)
      : Error(code, problem) {}
};

}  // namespace qwodel
