// Types of a program and how the weight file holds them.
#pragma once

#include "formats/mlpackage/blob_file.h"
#include "formats/mlpackage/model.pb.h"

namespace qwodel {

struct StoredType {
  mil::DataType type;
  BlobType blob;
};

// Nullptr for a type that the weight file cannot hold.
const StoredType* stored_type(mil::DataType type);

}  // namespace qwodel
