#include "sources/source.h"

namespace headrace {

int bytes_per_sample(SampleType type) {
  return type == SampleType::INT16 ? 2 : type == SampleType::FLOAT64 ? 8 : 4;
}

}  // namespace headrace
