// The C functions of the library. Nothing of torch: pointers, sizes and a stream come in a
// CudaCall, and a number that is not 0 is an error to be raised by the caller.
#include "kernels.h"
#include "launch.h"

#define QV_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

int64_t serve_type(int kernel, const CudaCall& call, bool only_bytes) {
  switch (call.dtype) {
    case kFloat32:
      return qvc_float32(kernel, call, only_bytes);
    case kFloat16:
      return qvc_float16(kernel, call, only_bytes);
    case kBFloat16:
      return qvc_bfloat16(kernel, call, only_bytes);
  }
  return kNoKernel;
}

}  // namespace

// Read from the file before it is loaded: cuda_build.is_current().
QV_EXPORT const char* qvc_sources() { return "quadview cuda sources " QV_SOURCE_HASH; }

// Versions of CUDA, such as 13000: what this library was built with, and what the driver knows (0:
// there is no driver). Asking starts nothing on a device.
QV_EXPORT int32_t qvc_runtime_version() {
#if defined(__CUDACC__)
  return CUDART_VERSION;
#else
  return 0;
#endif
}
QV_EXPORT int32_t qvc_driver_version() {
  int version = 0;
#if defined(__CUDACC__)
  cudaDriverGetVersion(&version);
#endif
  return version;
}

// The shared memory that a block of the kernel takes, or kNoKernel.
QV_EXPORT int64_t qvc_shared_bytes(int32_t kernel, const CudaCall* call) {
  return serve_type(kernel, *call, true);
}

// The most shared memory that a block can have on the device; negative: - cudaError_t.
QV_EXPORT int64_t qvc_shared_limit(int32_t device) {
  int64_t limit = 0;
  int error = shared_limit(device, &limit);
  return error ? -(int64_t)error : limit;
}

QV_EXPORT int32_t qvc_launch(int32_t kernel, const CudaCall* call) {
#if defined(__CUDACC__)
  // This library has a CUDA runtime of its own, which must use the device of the stream.
  int before = 0;
  cudaError_t error = cudaGetDevice(&before);
  if (error == cudaSuccess) error = cudaSetDevice((int)call->device);
  if (error != cudaSuccess) return error;
  int64_t result = serve_type(kernel, *call, false);
  cudaSetDevice(before);
  return (int32_t)result;
#else
  return (int32_t)serve_type(kernel, *call, false);
#endif
}

QV_EXPORT const char* qvc_error(int32_t number) {
  switch (number) {
    case kNoKernel:
      return "there is no kernel for this dtype, width and fan-out";
    case kTooManyItems:
      return "there are 2 ** 31 blocks of queries or more";
    case kTooMuchShared:
      return "a block needs more shared memory than the device has";
  }
#if defined(__CUDACC__)
  return cudaGetErrorString((cudaError_t)number);
#else
  return "unknown error";
#endif
}
