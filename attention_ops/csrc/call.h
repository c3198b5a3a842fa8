// One call of an op as the library sees it: sizes, settings and where the tensors lie.
//
// Every field is 8 bytes wide, so ctypes and every C++ compiler agree on the layout; native.py
// lists the same fields in the same order. All tensors are contiguous.
#pragma once
#include <stdint.h>

struct Call {
  // Sizes. The coarse level has L queries in P, S keys in R, and F = 1, K = 0.
  int64_t B, M, P, R, F, D;
  int64_t K;          // parents per block of queries (fine)
  int64_t topk;       // tokens selected per query, already clamped to the candidates
  int64_t variant_a;  // 1: QTAttA, 0: QTAttB
  int64_t bfloat16;   // 1: query, key, value, message and their gradients are bfloat16
  int64_t threads;
  double scale;
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
  // Backward.
  const void* grad_message;
  const float* grad_score;
  void *grad_query, *grad_key, *grad_value;
  float* grad_parent_score;  // (B, M, P, K), variant A only
  // Memory to work in: qv_scratch_floats() floats.
  float* scratch;
};

// One call of the tree ops: a map of cells and the tokens of all levels above it.
struct TreeCall {
  int64_t B, H, W, M, D;               // cells (B, H, W, M * D)
  int64_t levels, fan_rows, fan_columns;  // a token has fan_rows x fan_columns children
  int64_t mean;                        // 1: a parent is the mean of its valid children, 0: their sum
  int64_t bfloat16, threads;
  void* cells;
  void* const* tokens;   // per level, coarsest first, (B, M, L, D)
  const uint8_t* mask;   // (B, H, W) or null; 1 = valid
  const float* turn;     // (L of all levels, 2, D) or null: cosines and signed sines of a rotation
  const float* weight;   // (levels) or null, factors of the levels (merge)
};

// A stretch of the work: blocks of queries [begin, end) of one (batch, head), a slab.
struct Stretch {
  int64_t slab, begin, end;
};

// What one instruction set offers. A kernel runs one stretch in `scratch`; `*_floats` says how
// much of it one stretch needs. `*_block` is how many queries are worked on together.
struct Kernels {
  const char* name;
  int64_t coarse_block;
  void (*coarse_forward)(const Call&, const Stretch&, float* scratch);
  void (*coarse_backward)(const Call&, const Stretch&, float* scratch);
  void (*fine_forward)(const Call&, const Stretch&, float* scratch);
  void (*fine_backward)(const Call&, const Stretch&, float* scratch);
  int64_t (*coarse_floats)(const Call&, bool backward);
  int64_t (*fine_floats)(const Call&, bool backward);
  // Trees of roots [begin, end), counted through the batch.
  void (*pyramid)(const TreeCall&, int64_t begin, int64_t end, float* scratch);
  void (*merge)(const TreeCall&, int64_t begin, int64_t end, float* scratch);
  int64_t (*tree_floats)(const TreeCall&);
};
