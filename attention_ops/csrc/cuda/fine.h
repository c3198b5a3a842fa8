// Fine level: what its kernels share. A warp works on one block, the F children of one parent; its
// candidates are the F children of each of the K parents in its list, k-major and child-minor.
//
// Shared memory of a warp: the candidates' token numbers (-1: absent or masked), then arrays of F
// floats for each candidate. The candidates are padded so that every loop is over whole warps.
#pragma once
#include "call.h"
#include "products.h"
#include "rows.h"

template <int F>
struct Candidates {
  int count, padded;  // K * F, and that up to a multiple of 16
  int32_t* token;     // (padded)

  QV_BOTH int64_t padded_count(const CudaCall& call) { return (call.K * F + 15) / 16 * 16; }
  // Of a warp that keeps `arrays` arrays.
  QV_BOTH int64_t bytes(const CudaCall& call, int arrays) {
    return padded_count(call) * 4 * (1 + arrays * F);
  }
  QV_LANES float* array(const CudaCall& call, float* shared, int number) {
    return shared + padded_count(call) * (1 + number * F);
  }

  QV_LANES Candidates read(const CudaCall& call, int64_t block, float* shared) {
    Candidates all = {(int)call.K * F, (int)padded_count(call), (int32_t*)shared};
    const int32_t* list = call.parent_index + block * call.K;
    const int64_t first = quotient(block, call.M * call.P) * call.R * F;  // of the batch entry
    const uint8_t* mask = call.key_mask ? call.key_mask + first : nullptr;
    for (int i = 0; i < all.padded; i += kLanes) {
      Ints n = lane() + i;
      Ints parent = get(list, n / F, n < all.count, -1);
      Ints token = parent * F + n % F;
      Bools valid = parent >= 0;
      if (mask) valid = valid && get(mask, token, valid, 0) != 0;
      put(all.token, n, choose(valid, token, -1), n < all.padded);
    }
    sync_lanes();
    return all;
  }

  // The token of the candidate that each slot of a warp reads at step n.
  template <int D>
  QV_LANES Ints at_step(const Candidates& all, int n) {
    return get(all.token, Span<D>::slot() + n);
  }
};

// The first row of the slab that a block lies in, for tensors with R * F rows to a slab.
QV_LANES int64_t first_key(const CudaCall& call, int64_t block) {
  return quotient(block, call.P) * call.R * call.F;
}
