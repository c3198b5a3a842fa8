// Fine level, forward: logits of one block, selection, softmax and weighted sum.
#pragma once
#include "fine.h"

template <typename T, int D, int F>
struct FineForward {
  static constexpr int kPhases = 1;
  QV_BOTH int64_t items(const CudaCall& call) { return call.B * call.M * call.P; }
  QV_BOTH int64_t bytes(const CudaCall& call) { return Candidates<F>::bytes(call, 1); }

  QV_LANES void run(const CudaCall& call, int64_t block, float* shared) {
    Candidates<F> candidates = Candidates<F>::read(call, block, shared);
    float* cells = Candidates<F>::array(call, shared, 0);
    write_logits(call, block, candidates, cells);
    sync_lanes();
    Floats factor = weigh(call, block, candidates, cells);
    sync_lanes();
    mix(call, block, candidates, cells, factor);
  }

  QV_LANES void write_logits(const CudaCall& call, int64_t block, const Candidates<F>& candidates,
                             float* cells) {
    const T* key = (const T*)call.key + first_key(call, block) * D;
    const float scale = (float)call.scale * kLog2e;
    Floats query[F][4];
    load_rows<D>((const T*)call.query + block * F * D, F, query);
    Ints cell = Span<D>::slot() * F + asked<D, F>();
#pragma unroll 4
    for (int n = 0; n < candidates.padded; n += Span<D>::kRows) {
      Ints token = Candidates<F>::template at_step<D>(candidates, n);
      Floats row[4];
      load_channels<D>(key, token, Span<D>::column(), token >= 0, row);
      Floats logit = dots<D>(query, row) * scale;
      put(cells + n * F, cell, choose(token >= 0, logit, -kInfinity), teller<D, F>());
    }
  }

  // Turns logits into weights; a lane gets the factor that makes shares of those of its row.
  QV_LANES Floats weigh(const CudaCall& call, int64_t block, const Candidates<F>& candidates,
                        float* cells) {
    const int topk = (int)call.topk, count = candidates.padded * F;
    float* score = call.variant_a ? call.score + block * F * topk : nullptr;
    Chosen chosen = {call.index + block * F * topk, score, topk};
    auto label = [&](Ints n) { return get(candidates.token, n); };
    Floats lse, factor = 1.f;
    if (call.variant_a)
      weigh_runs<F>(cells, count, call.parent_score + block * call.K, (int)call.K, chosen, label,
                    lse);
    else
      factor = weigh_all<F>(cells, count, chosen, label, lse);
    put(call.lse + block * F, lane(), lse, lane() < F);
    return factor;
  }

  QV_LANES void mix(const CudaCall& call, int64_t block, const Candidates<F>& candidates,
                    const float* cells, Floats factor) {
    const T* value = (const T*)call.value + first_key(call, block) * D;
    Floats sum[F][4];
    set_zero(sum);
#pragma unroll 4
    for (int n = 0; n < candidates.padded; n += Span<D>::kRows) {
      Ints token = Candidates<F>::template at_step<D>(candidates, n);
      Floats row[4], weight[F];
      load_channels<D>(value, token, Span<D>::column(), token >= 0, row);
      get_run(cells + n * F, Span<D>::slot() * F, weight);
      add_weighted(sum, weight, row);
    }
#pragma unroll
    for (int f = 0; f < F; f++) {
      Floats mine = shuffle(factor, f);  // lane f holds that of row f
#pragma unroll
      for (int e = 0; e < 4; e++) sum[f][e] = sum[f][e] * mine;
    }
    store_sums<D>((T*)call.message + block * F * D, F, sum);
  }
};
