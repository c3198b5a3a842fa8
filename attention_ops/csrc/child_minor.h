// Child-minor keys: (R, PD, F) instead of (R, F, PD), and dot products with them.
//
// One vector holds W / F channels of all F children of a parent, so F dot products cost one
// multiply-add per vector and no horizontal sum until the end.
#pragma once
#include "rows.h"

namespace {

// (F, PD) rows as (PD, F).
template <int F>
QV_INLINE void child_minor(float* to, const float* rows, int64_t PD) {
  for (int64_t d = 0; d < PD; d += W) {
    V low, high, r[4];
    if (F == 2) {
      interleave(load(rows + d), load(rows + PD + d), low, high, AllLanes());
      store(to + d * F, low);
      store(to + d * F + W, high);
    } else {
      V even_low, even_high, odd_low, odd_high;
      interleave(load(rows + d), load(rows + F / 2 * PD + d), even_low, even_high, AllLanes());
      interleave(load(rows + PD + d), load(rows + (F - 1) * PD + d), odd_low, odd_high, AllLanes());
      interleave(even_low, odd_low, r[0], r[1], AllLanes());
      interleave(even_high, odd_high, r[2], r[3], AllLanes());
      for (int i = 0; i < 4; i++) store(to + d * F + i * W, r[i]);
    }
  }
}

// Each channel of F rows F times in a row, the shape that meets a child-minor vector.
template <int F>
QV_LOOP void expand(float* to, const float* rows, int64_t PD) {
  for (int64_t d = 0; d < F * PD; d += W) {
    V x = load(rows + d);
    store(to + d * F, spread<F, 0>(x, AllLanes()));
    store(to + d * F + W, spread<F, W / F>(x, AllLanes()));
    if (F == 4) store(to + d * F + 2 * W, spread<F, 2 * W / F % W>(x, AllLanes()));
    if (F == 4) store(to + d * F + 3 * W, spread<F, 3 * W / F % W>(x, AllLanes()));
  }
}

// The parents of a block, filled up to whole vectors, and those of the block after it. Parents lie
// anywhere in a slab that is larger than the fast caches: what the next block will read is asked
// for while this one is computed.
struct Parents {
  const int32_t *list, *next;
  int64_t count;
  int64_t step;  // floats from one parent of a slab to the next
};

// out[f][j * F + c] = factor * row f . candidate (j, c), for whole vectors of parents. The factor comes
// last, so that products that are equal give equal logits.
template <int F>
QV_LOOP void dots(float* out, int64_t width, const float* expanded, const float* minor,
                  const Parents& parents, int64_t PD, float factor) {
  constexpr int J = W / F;  // parents in a vector of the result
  const int64_t size = PD * F, step = parents.step;
  for (int64_t first = 0; first < parents.count; first += J) {
    const float *k[J], *next[J];
    V sum[F][J];
    for (int j = 0; j < J; j++) {
      k[j] = minor + parents.list[first + j] * step;
      next[j] = minor + parents.next[first + j] * step;
    }
    zero(sum);
    for (int64_t i = 0; i < size; i += W) {
      V x[J];
      for (int j = 0; j < J; j++) {
        x[j] = load(k[j] + i);
        __builtin_prefetch(next[j] + i);
      }
      for (int f = 0; f < F; f++) {
        V q = load(expanded + f * size + i);
        for (int j = 0; j < J; j++) sum[f][j] += q * x[j];
      }
    }
    for (int f = 0; f < F; f++) store(out + f * width + first * F, transpose_sum<F>(sum[f]) * factor);
  }
}

// out[f] = sum over candidates of weight[f][candidate] * its row, but in child-minor: each lane sums
// one child. `vectors` of the PD * F / W at a time.
template <int F, int vectors>
QV_LOOP void mix_lanes(float* out, const float* weight, int64_t width, const float* minor,
                       const Parents& parents, int64_t PD) {
  const int64_t size = PD * F;
  V sum[F][vectors];
  zero(sum);
  for (int64_t j = 0; j < parents.count; j++) {
    const float* row = minor + parents.list[j] * parents.step;
    for (int f = 0; f < F; f++) {
      V w = repeat<F>(weight + f * width + j * F);
      for (int v = 0; v < vectors; v++) sum[f][v] += w * load(row + v * W);
    }
  }
  for (int f = 0; f < F; f++)
    for (int v = 0; v < vectors; v++) store(out + f * size + v * W, sum[f][v]);
}

// The same with the children added up: out (F, PD). `work` holds F * PD * F floats.
template <int F>
QV_LOOP void mix_minor(float* out, const float* weight, int64_t width, const float* minor,
                       const Parents& parents, int64_t PD, float* work) {
  constexpr int wide = W == 16 ? 4 : 2;
  int64_t i = 0;
  for (; i + wide * W <= PD * F; i += wide * W)
    mix_lanes<F, wide>(work + i, weight, width, minor + i, parents, PD);
  for (; i < PD * F; i += 2 * W)
    mix_lanes<F, 2>(work + i, weight, width, minor + i, parents, PD);
  for (int64_t d = 0; d < F * PD; d += W) {
    V pairs[F / 2];
    for (int v = 0; v < F / 2; v++)
      pairs[v] = pair_sum(load(work + d * F + 2 * v * W), load(work + d * F + (2 * v + 1) * W),
                          AllLanes());
    store(out + d, F == 2 ? pairs[0] : pair_sum(pairs[0], pairs[F / 2 - 1], AllLanes()));
  }
}

}  // namespace
