// Fine level, backward: the block's probabilities again, then the gradients of both products.
//
// Keys and values are shared between blocks. Their gradients are added up in float32 by whoever
// comes first, or, where an order is wanted, each block leaves the factors of its candidates and
// FineGather takes them key by key.
#pragma once
#include "fine.h"

template <typename T, int D, int F>
struct FineBackward {
  static constexpr int kPhases = 1;
  QV_BOTH int64_t items(const CudaCall& call) { return call.B * call.M * call.P; }
  QV_BOTH int64_t bytes(const CudaCall& call) { return Candidates<F>::bytes(call, 2); }

  QV_LANES void run(const CudaCall& call, int64_t block, float* shared) {
    Candidates<F> candidates = Candidates<F>::read(call, block, shared);
    float* prob = Candidates<F>::array(call, shared, 0);
    float* grad = Candidates<F>::array(call, shared, 1);
    Floats query[F][4], grad_message[F][4];
    load_rows<D>((const T*)call.query + block * F * D, F, query);
    load_rows<D>((const T*)call.grad_message + block * F * D, F, grad_message);
    write_products(call, block, candidates, query, grad_message, prob, grad);
    sync_lanes();
    if (call.variant_a)
      differentiate_runs(call, block, candidates, prob, grad);
    else
      differentiate_all(call, block, candidates, prob, grad);
    sync_lanes();
    spread(call, block, candidates, query, grad_message, prob, grad);
    if (call.order) leave_factors(call, block, prob, grad);
  }

  // Leaves logits to the base 2 in `prob`, and in `grad` the gradients of the shares.
  QV_LANES void write_products(const CudaCall& call, int64_t block,
                               const Candidates<F>& candidates, const Floats (&query)[F][4],
                               const Floats (&grad_message)[F][4], float* prob, float* grad) {
    const T* key = (const T*)call.key + first_key(call, block) * D;
    const T* value = (const T*)call.value + first_key(call, block) * D;
    const float scale = (float)call.scale * kLog2e;
    Ints cell = Span<D>::slot() * F + asked<D, F>();
#pragma unroll 2
    for (int n = 0; n < candidates.padded; n += Span<D>::kRows) {
      Ints token = Candidates<F>::template at_step<D>(candidates, n);
      Bools valid = token >= 0;
      Floats key_row[4], value_row[4];
      load_channels<D>(key, token, Span<D>::column(), valid, key_row);
      load_channels<D>(value, token, Span<D>::column(), valid, value_row);
      Floats logit = dots<D>(query, key_row) * scale, product = dots<D>(grad_message, value_row);
      put(prob + n * F, cell, choose(valid, logit, -kInfinity), teller<D, F>());
      put(grad + n * F, cell, choose(valid, product, 0.f), teller<D, F>());
    }
  }

  // B: `prob` becomes probabilities, `grad` the gradients of the logits.
  QV_LANES void differentiate_all(const CudaCall& call, int64_t block,
                                  const Candidates<F>& candidates, float* prob, float* grad) {
    const int count = candidates.padded * F;
    const float scale = (float)call.scale;
    Floats lse = get(call.lse + block * F, my_row<F>());
    Floats shift = choose(lse == -kInfinity, kInfinity, lse * kLog2e), mean = 0.f;
    for (int i = 0; i < count; i += kLanes) {
      Floats p = exp2_of(get(prob + i, lane()) - shift);
      put(prob + i, lane(), p, true);
      mean = mean + p * get(grad + i, lane());
    }
    mean = sum_over<F, kLanes / 2>(mean);
    for (int i = 0; i < count; i += kLanes)
      put(grad + i, lane(), get(prob + i, lane()) * (get(grad + i, lane()) - mean) * scale, true);
  }

  // A: the same in each run of candidates, with the parents' scores and their gradients. `prob`
  // becomes the shares of the message.
  QV_LANES void differentiate_runs(const CudaCall& call, int64_t block,
                                   const Candidates<F>& candidates, float* prob, float* grad) {
    const int count = candidates.padded * F, parents = (int)call.K;
    for (int i = 0; i < count; i += kLanes) {
      Floats high, sum;
      put(prob + i, lane(), run_softmax<F>(get(prob + i, lane()), high, sum), true);
    }
    sync_lanes();
    mark_selected(call, block, prob, grad);
    sync_lanes();
    const float* score = call.parent_score + block * call.K;
    float* grad_score = call.grad_parent_score + block * call.K;
    const float scale = (float)call.scale;
    for (int i = 0; i < count; i += kLanes) {
      Floats marked = get(prob + i, lane()), p = absolute(marked), g = get(grad + i, lane());
      Ints parent = my_candidate<F>(i) / F;
      Floats weight = get(score, parent, parent < parents, 0.f);
      Floats mean = sum_over<F, F * F / 2>(p * g);
      Bools is_first = lane() % (F * F) == 0;
      put(grad_score, parent, sum_over<1, F / 2>(mean), is_first && parent < parents);
      put(grad + i, lane(), p * (g - mean) * weight * scale, true);
      put(prob + i, lane(), choose(bits_of(marked) < 0, 0.f, p * weight), true);
    }
  }

  // The selected take their gradient from the scores, not from the message: their probabilities
  // get a minus sign (0 as well).
  QV_LANES void mark_selected(const CudaCall& call, int64_t block, float* prob, float* grad) {
    const int topk = (int)call.topk;
    const int32_t* index = call.index + block * F * topk;
    const float* grad_score = call.grad_score + block * F * topk;
    const int32_t* list = call.parent_index + block * call.K;
    for (int k = 0; k < topk; k += kLanes / F) {
      Ints place = lane() / F + k, at = my_row<F>() * topk + place;
      Ints token = get(index, at, place < topk, -1);
      Ints parent = choose(token >= 0, token / F, -2), slot = -1;
      for (int j = 0; j < (int)call.K; j++) slot = choose(parent == list[j], j, slot);
      Bools found = slot >= 0;
      Ints cell = choose(found, (slot * F + token % F) * F + my_row<F>(), 0);
      Floats p = get(prob, cell);
      put(prob, cell, float_of(bits_of(p) | (Ints(1) << 31)), found);
      put(grad, cell, get(grad_score, at, found, 0.f), found);
    }
  }

  QV_LANES void spread(const CudaCall& call, int64_t block, const Candidates<F>& candidates,
                       const Floats (&query)[F][4], const Floats (&grad_message)[F][4],
                       const float* share, const float* grad) {
    const int64_t first = first_key(call, block) * D;
    const T* key = (const T*)call.key + first;
    float *grad_key = (float*)call.grad_key + first, *grad_value = (float*)call.grad_value + first;
    const bool adds = call.order == nullptr;
    Floats grad_query[F][4];
    set_zero(grad_query);
#pragma unroll 2
    for (int n = 0; n < candidates.padded; n += Span<D>::kRows) {
      Ints token = Candidates<F>::template at_step<D>(candidates, n);
      Bools valid = token >= 0;
      Floats row[4], weight[F];
      load_channels<D>(key, token, Span<D>::column(), valid, row);
      get_run(grad + n * F, Span<D>::slot() * F, weight);
      add_weighted(grad_query, weight, row);
      if (!adds) continue;
      mixed(row, weight, query);
      add_channels<D>(grad_key, token, Span<D>::column(), valid, row);
      get_run(share + n * F, Span<D>::slot() * F, weight);
      mixed(row, weight, grad_message);
      add_channels<D>(grad_value, token, Span<D>::column(), valid, row);
    }
    store_sums<D>((T*)call.grad_query + block * F * D, F, grad_query);
  }

  QV_LANES void leave_factors(const CudaCall& call, int64_t block, const float* share,
                              const float* grad) {
    const int count = (int)call.K * F * F;
    for (int i = 0; i < count; i += kLanes) {
      Bools inside = lane() + i < count;
      Ints at = choose(inside, lane() + i, 0);
      put(call.logit_gradient + block * count, at, get(grad, at), inside);
      put(call.share + block * count, at, get(share, at), inside);
    }
  }
};

// Gradients of the keys and values of one parent, from the factors that the blocks left, in the
// order of the blocks. A slot takes one child, or, where there are more slots than children, every
// so many of the entries for it.
template <typename T, int D, int F>
struct FineGather {
  static constexpr int kPhases = 1;
  static constexpr int kRows = Span<D>::kRows;
  static constexpr int kChildren = kRows < F ? kRows : F;  // worked on at once
  static constexpr int kStrands = kRows / kChildren;       // slots that share a child
  QV_BOTH int64_t items(const CudaCall& call) { return call.B * call.M * call.R * (F / kChildren); }
  QV_BOTH int64_t bytes(const CudaCall&) { return 0; }

  QV_LANES void run(const CudaCall& call, int64_t item, float*) {
    const int64_t parent = item / (F / kChildren);  // counted through all slabs
    const int64_t slab = quotient(parent, call.R);
    const int32_t* start = call.start + slab * (call.R + 1) + remainder_of(parent, call.R);
    const int begin = start[0], end = start[1];
    Ints child = Span<D>::slot() % kChildren + (int)(item % (F / kChildren)) * kChildren;
    Ints strand = Span<D>::slot() / kChildren;
    Floats grad_key[1][4], grad_value[1][4];
    set_zero(grad_key);
    set_zero(grad_value);
    for (int e = begin; e < end; e += kStrands) {
      Ints number = strand + e;
      Ints entry = get(call.order + slab * call.P * call.K, number, number < end, -1);
      add_entry(call, slab, entry, child, grad_key[0], grad_value[0]);
    }
    store(call.grad_key, parent, child, grad_key[0]);
    store(call.grad_value, parent, child, grad_value[0]);
  }

  QV_LANES void add_entry(const CudaCall& call, int64_t slab, Ints entry, Ints child,
                          Floats (&grad_key)[4], Floats (&grad_value)[4]) {
    const int64_t blocks = slab * call.P, factors = blocks * call.K * F * F;
    const T* query = (const T*)call.query + blocks * F * D;
    const T* grad_message = (const T*)call.grad_message + blocks * F * D;
    Bools valid = entry >= 0;
    Ints block = choose(valid, entry, 0) / (int)call.K;
#pragma unroll
    for (int f = 0; f < F; f++) {
      Ints cell = (entry * F + child) * F + f;
      Floats of_logit = get(call.logit_gradient + factors, cell, valid, 0.f);
      Floats of_share = get(call.share + factors, cell, valid, 0.f);
      Floats row[4];
      load_channels<D>(query, block * F + f, Span<D>::column(), valid, row);
#pragma unroll
      for (int e = 0; e < 4; e++) grad_key[e] = grad_key[e] + of_logit * row[e];
      load_channels<D>(grad_message, block * F + f, Span<D>::column(), valid, row);
#pragma unroll
      for (int e = 0; e < 4; e++) grad_value[e] = grad_value[e] + of_share * row[e];
    }
  }

  QV_LANES void store(void* grads, int64_t parent, Ints child, Floats (&sum)[4]) {
    constexpr int kGroup = Span<D>::kGroup;
#pragma unroll
    for (int e = 0; e < 4; e++) {
      if constexpr (kStrands > 1) sum[e] = sum_over<kGroup * kChildren, kLanes / 2>(sum[e]);
    }
    store_channels<D>((T*)grads + parent * F * D, child, Span<D>::column(),
                      Span<D>::slot() < kChildren, sum);
  }
};
