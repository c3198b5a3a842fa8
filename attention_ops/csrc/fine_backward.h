// Fine level, backward: the block's probabilities again, then the gradients of both products.
//
// One thread owns the slab, so the sums over blocks into keys and values need no atomics and come in
// one order whatever the number of threads.
#pragma once
#include "fine.h"

namespace {

// grad[candidate] += sum over f of weight[f][candidate] * row f, for two gradients at once;
// `vectors` of channels at a time, PD apart from row to row. What the next block adds to goes to the
// second cache only: the first has no room for it beside this block.
template <int F, int vectors>
QV_LOOP void scatter_columns(float* const (&grads)[2], const float* const (&weights)[2],
                             const float* const (&rows)[2], int64_t width, const Parents& parents,
                             int64_t PD) {
  V row[2][F][vectors];
  for (int g = 0; g < 2; g++)
    for (int f = 0; f < F; f++)
      for (int v = 0; v < vectors; v++) row[g][f][v] = load(rows[g] + f * PD + v * W);
  for (int64_t j = 0; j < parents.count; j++)
    for (int c = 0; c < F; c++)
      for (int g = 0; g < 2; g++) {
        float* at = grads[g] + parents.list[j] * parents.step + c * PD;
        const float* next = grads[g] + parents.next[j] * parents.step + c * PD;
        for (int v = 0; v < vectors * W; v += 16) __builtin_prefetch(next + v, 1, 2);
        V sum[vectors];
        for (int v = 0; v < vectors; v++) sum[v] = load(at + v * W);
        for (int f = 0; f < F; f++) {
          V w = all(weights[g][f * width + j * F + c]);
          for (int v = 0; v < vectors; v++) sum[v] += w * row[g][f][v];
        }
        for (int v = 0; v < vectors; v++) store(at + v * W, sum[v]);
      }
}

template <int F, typename T>
struct FineBackward : Fine<F, T> {
  typedef Fine<F, T> Base;
  using Base::call, Base::D, Base::PD, Base::width, Base::logits, Base::parent, Base::parents;

  const int64_t slab;
  float *value_minor, *grad_key, *grad_value;
  bool beside;        // whether the gradients are summed beside the keys
  int64_t grad_step;  // floats from one parent to the next
  float *grad_rows, *grad_query, *dshare, *weight, *selected;

  FineBackward(const Call& c, int64_t slab, Arena& arena)
      : Base(c, slab, arena, 4), slab(slab) {
    grad_rows = arena.floats(F * PD);
    grad_query = arena.floats(F * PD);
    dshare = arena.floats(F * width);
    weight = arena.floats(width);
    selected = arena.floats(width);
  }

  void pack() {
    Base::pack();
    const int64_t size = F * PD;
    beside = !Base::direct || Base::is_scattered(slab);
    Base::step = (beside ? 4 : 2) * size;
    grad_step = beside ? Base::step : size;
    value_minor = Base::key_minor + size;
    grad_key = beside ? value_minor + size : (float*)call.grad_key + slab * call.R * size;
    grad_value = beside ? grad_key + size : (float*)call.grad_value + slab * call.R * size;
    for (int64_t r = 0; r < call.R; r++) {
      child_minor<F>(Base::key_minor + r * Base::step, Base::children(Base::key, r), PD);
      child_minor<F>(value_minor + r * Base::step, Base::children(Base::value, r), PD);
      fill(grad_key + r * grad_step, size, 0.f);
      fill(grad_value + r * grad_step, size, 0.f);
    }
  }

  void run(const Stretch& stretch) {
    for (int64_t p = 0; p < call.P; p++) {
      int64_t block = stretch.slab * call.P + p;
      if (call.variant_a) fill(call.grad_parent_score + block * call.K, call.K, 0.f);
      if (Base::read_parents(stretch.slab, p))
        run_block(block, p);
      else
        memset((T*)call.grad_query + block * F * D, 0, (size_t)(F * D) * sizeof(T));
    }
    int64_t first = slab * call.R * F;
    for (int64_t i = 0; beside && i < call.R * F; i++) {
      int64_t at = i / F * grad_step + i % F * PD;
      narrow_row((T*)call.grad_key + (first + i) * D, grad_key + at, D);
      narrow_row((T*)call.grad_value + (first + i) * D, grad_value + at, D);
    }
  }

  void run_block(int64_t block, int64_t p) {
    const float* queries = Base::compute_logits(Base::query + p * F * D);
    const T* grad_message = (const T*)call.grad_message + block * F * D;
    const float* grads = Base::float_rows(grad_rows, grad_message);
    expand<F>(Base::expanded, grads, PD);
    dots<F>(dshare, width, Base::expanded, value_minor, Base::block(), PD, 1.f);
    if (call.variant_a)
      differentiate_groups(block);
    else
      differentiate_all(block);
    spread_gradients(queries, grads);
    for (int f = 0; f < F; f++)
      narrow_row((T*)call.grad_query + (block * F + f) * D, grad_query + f * PD, D);
  }

  void spread_gradients(const float* queries, const float* grads) {
    constexpr int wide = W == 16 ? 2 : 1;
    mix_minor<F>(grad_query, dshare, width, Base::key_minor, Base::block(), PD, Base::expanded);
    int64_t d = 0;
    for (; d + wide * W <= PD; d += wide * W) scatter_at<wide>(queries, grads, d);
    for (; d < PD; d += W) scatter_at<1>(queries, grads, d);
  }
  template <int vectors>
  void scatter_at(const float* queries, const float* grads, int64_t d) {
    const Parents visited{parent, Base::ahead, parents, grad_step};
    float* const sums[] = {grad_key + d, grad_value + d};
    const float *const weights[] = {dshare, logits}, *const rows[] = {queries + d, grads + d};
    scatter_columns<F, vectors>(sums, weights, rows, width, visited, PD);
  }

  // B: `logits` become probabilities, `dshare` the gradients of the logits.
  void differentiate_all(int64_t block) {
    int64_t n = Base::row_length();
    for (int f = 0; f < F; f++) {
      float *x = logits + f * width, *g = dshare + f * width;
      float lse = call.lse[block * F + f];
      V shift = all(lse == -kInf ? kInf : lse * kLog2e), sum{};
      for (int64_t i = 0; i < n; i += W) {
        V prob = exp2_of(load(x + i) - shift);
        store(x + i, prob);
        sum += prob * load(g + i);
      }
      V mean = all(hsum(sum)), scale = all((float)call.scale);
      for (int64_t i = 0; i < n; i += W)
        store(g + i, load(x + i) * (load(g + i) - mean) * scale);
    }
  }

  // A: the same within each group, with the parents' scores and their gradients.
  void differentiate_groups(int64_t block) {
    int64_t n = Base::row_length();
    const float* score = call.parent_score + block * call.K;
    float* grad_score = call.grad_parent_score + block * call.K;
    for (int64_t i = 0; i < n; i++) weight[i] = i < parents * F ? score[Base::slot[i / F]] : 0.f;
    for (int f = 0; f < F; f++) {
      float *x = logits + f * width, *g = dshare + f * width;
      group_softmax<F>(x, n, 0.f);
      mark_selected(block * F + f, g);
      for (int64_t i = 0; i < n; i += W) {
        I valid = load(x + i) >= all(0.f);
        V prob = choose(valid, load(x + i), all(0.f)), w = load(weight + i);
        V in_message = choose(load(selected + i) > all(0.f), all(0.f), prob * w);
        V dprob = prob * load(g + i);
        V mean = run_sum<F>(dprob);
        store(selected + i, mean);
        store(g + i, prob * (load(g + i) - mean) * w * (float)call.scale);
        store(x + i, in_message);
      }
      for (int64_t j = 0; j < parents; j++) grad_score[Base::slot[j]] += selected[j * F];
    }
  }

  // The selected candidates of a row take their gradient from the scores, not from the message.
  void mark_selected(int64_t row, float* g) {
    fill(selected, Base::row_length(), 0.f);
    for (int64_t k = 0, j = 0; k < call.topk; k++) {
      int32_t token = call.index[row * call.topk + k];
      if (token < 0) break;
      while (j < parents && parent[j] != token / F) j++;
      if (j == parents) break;
      selected[j * F + token % F] = 1.f;
      g[j * F + token % F] = call.grad_score[row * call.topk + k];
    }
  }
};

}  // namespace
