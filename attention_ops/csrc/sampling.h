// One call of the sampling op as the library sees it: sizes and where the tensors lie.
//
// Every field is 8 bytes wide; sampling_native.py lists the same fields in the same order. All
// tensors are contiguous float32.
#pragma once
#include <stdint.h>

struct Sampling {
  int64_t B, S, M, D;  // value
  int64_t Q, L, K;     // points: K in each of L maps
  int64_t threads;
  const int64_t* sizes;    // (L, 2) height, width
  const float* value;      // (B, S, M, D), the maps in turn
  const float* location;   // (B, Q, M, L, K, 2) x, y as fractions of the map
  const float* weight;     // (B, Q, M, L, K)
  float* message;          // (B, Q, M, D)
  const float* grad_message;
  float* grad_value;       // zeros when the call starts
  float *grad_location, *grad_weight;
};

// What one instruction set offers: `forward` does queries [begin, end) of batch entry `item`,
// `backward` all queries of one (batch, head), whose part of grad_value no one else writes.
struct SamplingKernels {
  void (*forward)(const Sampling&, int64_t item, int64_t begin, int64_t end);
  void (*backward)(const Sampling&, int64_t slab);
};
