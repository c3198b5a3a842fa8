// Runs a body over all items of a call: as a CUDA kernel, or, for other compilers, warp by warp.
//
// A body of one phase is run by each warp for an item of its own. A body of several phases is run
// by the kTile warps of a block for one item, and all warps end a phase before one begins the next.
#pragma once
#include "coarse_forward.h"

// What a launch returns: 0, a cudaError_t, or one of these.
enum Refusal { kNoKernel = -1, kTooManyItems = -2, kTooMuchShared = -3 };

template <class Body>
constexpr bool kByBlock = Body::kPhases > 1;

struct Shape {
  int warps;       // of a block
  int64_t bytes;   // of shared memory, for a warp or, by block, for all
  int64_t blocks;
  int64_t shared() const { return bytes * warps; }
};

constexpr int64_t kFreeShared = 48 * 1024;  // what a kernel gets without asking

// As many warps to a block as keep its shared memory small.
template <class Body>
Shape shape_of(const CudaCall& call) {
  int64_t items = Body::items(call), bytes = (Body::bytes(call) + 15) / 16 * 16;
  if (kByBlock<Body>) return {kTile, (bytes + kTile - 1) / kTile, items};
  int warps = 4;
  while (warps > 1 && warps * bytes > kFreeShared) warps /= 2;
  return {warps, bytes, (items + warps - 1) / warps};
}

#if defined(__CUDACC__)

template <class Body>
__global__ void __launch_bounds__(4 * kLanes)
    run_body(const CudaCall call, int64_t items, int64_t bytes) {
  extern __shared__ float4 memory[];
  const int warp = (int)threadIdx.x / kLanes;
  if constexpr (kByBlock<Body>) {
#pragma unroll
    for (int phase = 0; phase < Body::kPhases; phase++) {
      if (phase) __syncthreads();
      Body::run(call, blockIdx.x, warp, phase, (float*)memory);
    }
  } else {
    const int64_t item = (int64_t)blockIdx.x * (blockDim.x / kLanes) + warp;
    if (item < items) Body::run(call, item, (float*)((char*)memory + warp * bytes));
  }
}

// The most shared memory that a block can have on the device.
inline int shared_limit(int device, int64_t* limit) {
  int bytes = 0;
  cudaError_t error =
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  *limit = bytes;
  return error;
}

template <class Body>
int launch(const CudaCall& call) {
  Shape shape = shape_of<Body>(call);
  if (shape.shared() > kFreeShared) {
    cudaError_t error = cudaFuncSetAttribute(
        run_body<Body>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shape.shared());
    if (error != cudaSuccess) return error;
  }
  run_body<Body><<<(unsigned)shape.blocks, shape.warps * kLanes, shape.shared(),
                   (cudaStream_t)call.stream>>>(call, Body::items(call), shape.bytes);
  return cudaGetLastError();
}

#else
#include <vector>

inline int shared_limit(int, int64_t* limit) {
  *limit = 99 * 1024;  // of the smallest devices that the kernels are built for
  return 0;
}

template <class Body>
int launch(const CudaCall& call) {
  Shape shape = shape_of<Body>(call);
  // NaN, so that a cell that nobody wrote shows
  std::vector<float> memory(shape.shared() / 4 + 4);
  for (int64_t item = 0; item < Body::items(call); item++) {
    for (float& cell : memory) cell = NAN;
    if constexpr (kByBlock<Body>) {
      for (int phase = 0; phase < Body::kPhases; phase++)
        for (int warp = 0; warp < kTile; warp++)
          Body::run(call, item, warp, phase, memory.data());
    } else {
      Body::run(call, item, memory.data());
    }
  }
  return 0;
}

#endif

// Launches, or with `only_bytes` asks how much shared memory a block would have.
template <class Body>
int64_t serve(const CudaCall& call, bool only_bytes) {
  if (only_bytes) return shape_of<Body>(call).shared();
  int64_t items = Body::items(call), limit;
  if (items >= (int64_t)1 << 31) return kTooManyItems;
  if (items == 0) return 0;
  int error = shared_limit((int)call.device, &limit);
  if (error) return error;
  if (shape_of<Body>(call).shared() > limit) return kTooMuchShared;
  return launch<Body>(call);
}
