// Fine level, forward: logits, selection, softmax and weighted sum of one block at a time.
#pragma once
#include "fine.h"
#include "select.h"

namespace {

template <int F, typename T>
struct FineForward : Fine<F, T> {
  typedef Fine<F, T> Base;
  using Base::call, Base::D, Base::PD, Base::width, Base::logits, Base::parent, Base::parents;

  const int64_t slab;
  const float* value_rows;
  float *weight, *rank, *keep;
  int32_t *token, *kept, *position;

  FineForward(const Call& c, int64_t slab, Arena& arena) : Base(c, slab, arena, 2), slab(slab) {
    weight = arena.floats(width);
    rank = arena.floats(F * width);
    token = arena.ints(width);
    keep = arena.floats(F * (width + 2 * W));
    kept = arena.ints(F * (width + 2 * W));
    position = arena.ints(F * c.topk);
  }

  void pack() {
    Base::pack();
    const bool beside = !Base::direct || Base::is_scattered(slab);
    const int64_t size = F * PD;
    float* keys = Base::key_minor;
    Base::step = beside ? 2 * size : size;
    value_rows = beside ? keys + size : (const float*)Base::value;
    for (int64_t r = 0; r < call.R; r++, keys += Base::step) {
      child_minor<F>(keys, Base::children(Base::key, r), PD);
      if (beside) copy_vectors(keys + size, Base::children(Base::value, r), size);
    }
  }

  // Candidate (j, c) is token F * parent[j] + c; for A the selection works on positions instead.
  void name_candidates() {
    for (int64_t i = 0; i < Base::row_length(); i += W)
      store(token + i, call.variant_a ? positions((int32_t)i, AllLanes())
                                      : children_of<F>(load(parent + i / F), AllLanes()));
  }

  void run(const Stretch& stretch) {
    for (int64_t p = stretch.begin; p < stretch.end; p++) {
      int64_t row = (stretch.slab * call.P + p) * F;
      ask_ahead(p + 2 < stretch.end ? p + 2 : p);
      if (!Base::read_parents(stretch.slab, p)) {
        write_nothing(row);
        continue;
      }
      Base::compute_logits(Base::query + p * F * D);
      if (call.topk) name_candidates();
      float factor[F];
      if (call.variant_a)
        weigh_groups(stretch.slab * call.P + p, row, factor);
      else
        weigh_all(row, factor);
      mix<F>(Base::rows, logits, width, value_rows, Base::block(), PD);
      for (int f = 0; f < F; f++)
        narrow_row((T*)call.message + (row + f) * D, Base::rows + f * PD, D, factor[f]);
    }
  }

  // The rows of block p. Though they follow one another, the processor does not foresee them: it
  // keeps track of few places in memory, and the parents use those up.
  void ask_ahead(int64_t p) const {
    ask_for<false>(Base::query + p * F * D, F * D);
    ask_for<true>((const T*)call.message + (slab * call.P + p) * F * D, F * D);
  }

  void write_nothing(int64_t row) {
    memset((T*)call.message + row * D, 0, (size_t)(F * D) * sizeof(T));
    for (int f = 0; f < F; f++) call.lse[row + f] = -kInf;
    for (int64_t i = 0; i < F * call.topk; i++) call.index[row * call.topk + i] = -1;
    if (call.variant_a) fill(call.score + row * call.topk, F * call.topk, 0.f);
  }

  // B: one softmax over all candidates. Leaves 2 ** (logit - max) in `logits`.
  void weigh_all(int64_t row, float* factor) {
    int64_t n = Base::row_length();
    float high[F], sum[F];
    if (call.topk)
      select_rows<F>(logits, width, F, token, (int)n, (int)call.topk, keep, kept, high,
                     call.index + row * call.topk);
    else
      for (int f = 0; f < F; f++) high[f] = row_max(logits + f * width, n);
    for (int f = 0; f < F; f++) sum[f] = row_exp2(logits + f * width, n, high[f]);
    write_lse(call.lse + row, sum, high, F);
    for (int f = 0; f < F; f++) factor[f] = sum[f] > 0.f ? 1.f / sum[f] : 0.f;
  }

  // A: a softmax for each parent, times the parent's score. Leaves the shares in `logits`.
  void weigh_groups(int64_t block, int64_t row, float* factor) {
    int64_t n = Base::row_length();
    for (int64_t i = 0; i < n; i++)
      weight[i] = i < parents * F ? call.parent_score[block * call.K + Base::slot[i / F]] : 0.f;
    float high[F], sum[F];
    for (int f = 0; f < F; f++) {
      float *x = logits + f * width, *r = rank + f * width;
      high[f] = row_max(x, n);
      sum[f] = group_softmax<F>(x, n, high[f]);
      for (int64_t i = 0; i < n; i += W) {
        I valid = load(x + i) >= all(0.f);
        V share = load(x + i) * load(weight + i);
        store(r + i, choose(valid, share, all(-kInf)));
        store(x + i, choose(valid, share, all(0.f)));
      }
      factor[f] = 1.f;
    }
    if (call.topk) {
      float best[F];
      select_rows<F>(rank, width, F, token, (int)n, (int)call.topk, keep, kept, best, position);
      for (int f = 0; f < F; f++) take_selected(logits + f * width, row + f, position + f * call.topk);
    }
    write_lse(call.lse + row, sum, high, F);
  }

  // The shares at the positions `chosen` become the scores and leave the message.
  void take_selected(float* share, int64_t row, const int32_t* chosen) {
    for (int64_t k = 0; k < call.topk; k++) {
      int32_t at = chosen[k];
      call.index[row * call.topk + k] = at < 0 ? -1 : parent[at / F] * F + at % F;
      call.score[row * call.topk + k] = at < 0 ? 0.f : share[at];
      if (at >= 0) share[at] = 0.f;
    }
  }
};

}  // namespace
