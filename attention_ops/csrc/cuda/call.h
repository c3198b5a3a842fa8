// One call of an op as the CUDA library sees it: sizes, settings and where the tensors lie.
//
// Every field is 8 bytes wide, so ctypes, nvcc and g++ agree on the layout; cuda_call.py lists the
// same fields in the same order. All tensors are contiguous; their rows start at multiples of 16
// bytes.
#pragma once
#include <stdint.h>

enum DType { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2 };

struct CudaCall {
  // Sizes. The coarse level has L queries in P, S keys in R, and F = 1, K = 0.
  int64_t B, M, P, R, F, D;
  int64_t K;          // parents per block of queries (fine)
  int64_t topk;       // tokens selected per query, already clamped to the candidates
  int64_t variant_a;  // 1: QTAttA, 0: QTAttB
  int64_t dtype;      // of query, key, value, message and grad_message: a DType
  int64_t device;     // number of the CUDA device
  double scale;
  void* stream;
  // Inputs.
  const void *query, *key, *value;  // (B, M, P, F, D), (B, M, R, F, D) twice
  const uint8_t* key_mask;          // (B, R, F) or null; 1 = valid
  const int32_t* parent_index;      // (B, M, P, K); -1 = none
  const float* parent_score;        // (B, M, P, K), variant A only
  // Outputs of the forward, inputs of the backward.
  void* message;   // (B, M, P, F, D)
  float* lse;      // (B, M, P, F)
  int32_t* index;  // (B, M, P, F, topk)
  float* score;    // (B, M, P, F, topk), variant A only
  // Backward. grad_key and grad_value are float32 where fine blocks add into them, else `dtype`.
  const void* grad_message;
  const float* grad_score;
  void *grad_query, *grad_key, *grad_value;
  float* grad_parent_score;  // (B, M, P, K), variant A only
  float* delta;              // (B, M, L): sum over keys of probability * its gradient (coarse)
  // Fine backward in a fixed order: the blocks leave the factors of their candidates here, both
  // (B, M, P, K, F, F), child of the key before child of the query; `order` holds, for each slab,
  // the entries p * K + k sorted by the parent they name, `start` where each parent's begin.
  float *logit_gradient, *share;
  const int32_t* order;  // (B, M, P * K)
  const int32_t* start;  // (B, M, R + 1)
};
