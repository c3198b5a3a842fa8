// The kernels by number, as Python asks for them, and one function for each stored type.
#pragma once
#include "call.h"

enum Kernel {
  kFineForward = 0,
  kFineBackward = 1,
  kFineGather = 2,
  kCoarseForward = 3,
  kCoarseQueries = 4,
  kCoarseKeys = 5,
};

// Launches a kernel, or with `only_bytes` says how much shared memory a block of it takes.
int64_t qvc_float32(int kernel, const CudaCall& call, bool only_bytes);
int64_t qvc_float16(int kernel, const CudaCall& call, bool only_bytes);
int64_t qvc_bfloat16(int kernel, const CudaCall& call, bool only_bytes);
