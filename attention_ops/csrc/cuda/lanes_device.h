// Lanes as nvcc sees them: one per thread.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#define QV_LANES static __device__ __forceinline__
#define QV_MEMBER __device__ __forceinline__  // of an object
#define QV_BOTH static __host__ __device__ inline

typedef float Floats;
typedef int Ints;
typedef bool Bools;
typedef __half Half;
typedef __nv_bfloat16 BFloat;

constexpr unsigned kAllLanes = 0xffffffffu;

QV_LANES Ints lane() { return (int)(threadIdx.x & 31); }
QV_LANES Floats shuffle_xor(Floats x, int bit) { return __shfl_xor_sync(kAllLanes, x, bit); }
QV_LANES Ints shuffle_xor(Ints x, int bit) { return __shfl_xor_sync(kAllLanes, x, bit); }
QV_LANES Floats shuffle(Floats x, Ints from) { return __shfl_sync(kAllLanes, x, from); }
QV_LANES Floats choose(Bools which, Floats a, Floats b) { return which ? a : b; }
QV_LANES Ints choose(Bools which, Ints a, Ints b) { return which ? a : b; }
QV_LANES Floats maximum(Floats a, Floats b) { return fmaxf(a, b); }
QV_LANES Floats minimum(Floats a, Floats b) { return fminf(a, b); }
QV_LANES Floats absolute(Floats x) { return fabsf(x); }
QV_LANES Floats exp2_of(Floats x) { return exp2f(x); }
QV_LANES Floats log2_of(Floats x) { return log2f(x); }
QV_LANES Ints bits_of(Floats x) { return __float_as_int(x); }
QV_LANES Floats float_of(Ints x) { return __int_as_float(x); }
QV_LANES int votes(Bools x) { return (int)__ballot_sync(kAllLanes, x); }
QV_LANES bool any_lane(Bools x) { return __any_sync(kAllLanes, x); }
QV_LANES Ints count_bits(Ints x) { return __popc((unsigned)x); }
QV_LANES bool less_unsigned(int a, int b) { return (unsigned)a < (unsigned)b; }

// What the lanes of a warp wrote to shared memory is seen by all of them from here on.
QV_LANES void sync_lanes() { __syncwarp(); }

// One number per lane. `where` is false: nothing is read, and `otherwise` comes.
QV_LANES Floats get(const float* from, Ints at) { return from[at]; }
QV_LANES Ints get(const int* from, Ints at) { return from[at]; }
template <typename T>
QV_LANES Ints get(const T* from, Ints at, Bools where, Ints otherwise) {
  return where ? (int)from[at] : otherwise;
}
QV_LANES Floats get(const float* from, Ints at, Bools where, Floats otherwise) {
  return where ? from[at] : otherwise;
}
template <typename T, typename U>
QV_LANES void put(T* to, Ints at, U x, Bools where) {
  if (where) to[at] = x;
}

// N floats side by side in shared memory, per lane; 4 * N bytes aligned.
template <int N>
QV_LANES void get_run(const float* from, Ints at, Floats (&x)[N]) {
  if constexpr (N == 4) {
    float4 run = *(const float4*)(from + at);
    x[0] = run.x, x[1] = run.y, x[2] = run.z, x[3] = run.w;
  } else {
    static_assert(N == 2, "runs of 2 and 4");
    float2 run = *(const float2*)(from + at);
    x[0] = run.x, x[1] = run.y;
  }
}

// Four channels per lane, at `column` of `row` in rows of D; zeros where `where` is false.
QV_LANES void widen(uint2 raw, const Half*, Floats (&x)[4]) {
  float2 low = __half22float2(*(const __half2*)&raw.x), high = __half22float2(*(__half2*)&raw.y);
  x[0] = low.x, x[1] = low.y, x[2] = high.x, x[3] = high.y;
}
QV_LANES void widen(uint2 raw, const BFloat*, Floats (&x)[4]) {
  x[0] = __uint_as_float(raw.x << 16), x[1] = __uint_as_float(raw.x & 0xffff0000u);
  x[2] = __uint_as_float(raw.y << 16), x[3] = __uint_as_float(raw.y & 0xffff0000u);
}
template <int D, typename T>
QV_LANES void load_channels(const T* base, Ints row, Ints column, Bools where, Floats (&x)[4]) {
  uint2 raw = make_uint2(0, 0);
  if (where) raw = *(const uint2*)(base + (int64_t)row * D + column);
  widen(raw, base, x);
}
template <int D>
QV_LANES void load_channels(const float* base, Ints row, Ints column, Bools where, Floats (&x)[4]) {
  float4 raw = make_float4(0.f, 0.f, 0.f, 0.f);
  if (where) raw = *(const float4*)(base + (int64_t)row * D + column);
  x[0] = raw.x, x[1] = raw.y, x[2] = raw.z, x[3] = raw.w;
}

QV_LANES unsigned pair_of(Floats a, Floats b, const Half*) {
  __half2 pair = __floats2half2_rn(a, b);
  return *(unsigned*)&pair;
}
QV_LANES unsigned pair_of(Floats a, Floats b, const BFloat*) {
  __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
  return *(unsigned*)&pair;
}
template <int D, typename T>
QV_LANES void store_channels(T* base, Ints row, Ints column, Bools where, const Floats (&x)[4]) {
  uint2 raw = make_uint2(pair_of(x[0], x[1], base), pair_of(x[2], x[3], base));
  if (where) *(uint2*)(base + (int64_t)row * D + column) = raw;
}
template <int D>
QV_LANES void store_channels(float* base, Ints row, Ints column, Bools where,
                             const Floats (&x)[4]) {
  if (where) *(float4*)(base + (int64_t)row * D + column) = make_float4(x[0], x[1], x[2], x[3]);
}

// Adds to rows that other warps add to as well; the order of the sums is not fixed.
template <int D>
QV_LANES void add_channels(float* base, Ints row, Ints column, Bools where, const Floats (&x)[4]) {
  if (!where) return;
  float* at = base + (int64_t)row * D + column;
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(at)),
               "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3])
               : "memory");
#else
  for (int i = 0; i < 4; i++) atomicAdd(at + i, x[i]);
#endif
}
