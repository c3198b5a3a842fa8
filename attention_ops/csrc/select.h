// Exact top-K of one row of floats: the set, in order of position, ties to the lower position.
//
// Knows nothing of attention. -inf and NaN are never selected. The threshold is found by bisection
// on the values (a float between two floats is looked for, then the whole order of the floats), so
// the result does not depend on the width of the vectors.
#pragma once
#include "vector.h"

namespace {

constexpr float kLowest = -__FLT_MAX__;

// Floats as integers of the same order, and back.
QV_INLINE int32_t ordered(float x) {
  int32_t i;
  memcpy(&i, &x, 4);
  return i ^ ((i >> 31) & 0x7fffffff);
}
QV_INLINE float from_ordered(int32_t i) {
  i ^= (i >> 31) & 0x7fffffff;
  float x;
  memcpy(&x, &i, 4);
  return x;
}

QV_INLINE int count_ge(const float* x, int n, float t) {
  int count = 0;
  for (int i = 0; i < n; i += W) count += __builtin_popcount(bits_ge(load(x + i), all(t)));
  return count;
}

// The largest t with count(x >= t) >= k, or any t with count(x >= t) == k. Needs
// count(x >= low) >= k and no x above `high`.
QV_INLINE float threshold(const float* x, int n, int k, float low, float high) {
  constexpr int kFloatSteps = 14;  // then values are close or far apart: go by their order
  high = from_ordered(ordered(high) + 1);
  for (int step = 0; ordered(low) + 1 < ordered(high); step++) {
    float middle = 0.5f * low + 0.5f * high;
    if (step >= kFloatSteps || !(middle > low && middle < high))
      middle = from_ordered((int32_t)(((int64_t)ordered(low) + ordered(high)) >> 1));
    int count = count_ge(x, n, middle);
    if (count == k) return middle;
    (count > k ? low : high) = middle;
  }
  return low;
}

// The smallest of many maxima of disjoint parts of the row, at least k of them: a lower bound of
// the threshold that most of the row lies below.
QV_INLINE float lower_bound(const float* x, int n, int k) {
  constexpr int kParts = 16;
  int parts = (k + W - 1) / W;
  if (parts > kParts || n < 2 * parts * W) return kLowest;
  V top[kParts];
  for (int p = 0; p < parts; p++) top[p] = load(x + p * W);
  int i = parts * W;
  for (; i + parts * W <= n; i += parts * W)
    for (int p = 0; p < parts; p++) top[p] = vmax(top[p], load(x + i + p * W));
  V least = -top[0];
  for (int p = 1; p < parts; p++) least = vmax(least, -top[p]);
  float bound = -hmax(least);
  return bound > kLowest ? bound : kLowest;
}

// Writes the labels of the k largest of x (n floats, n a multiple of W, padded with -inf) to `out`
// in the order of x, then -1 up to k. `keep` and `kept` hold n + W entries each.
QV_LOOP void select_labels(const float* x, const int32_t* label, int n, int k, float high,
                             float* keep, int32_t* kept, int32_t* out) {
  float low = lower_bound(x, n, k);
  int m = 0;
  for (int i = 0; i < n; i += W) {
    uint32_t bits = bits_ge(load(x + i), all(low));
    if (!bits) continue;
    compress(keep + m, x + i, bits);
    m += compress(kept + m, label + i, bits);
  }
  if (m <= k) {
    for (int i = 0; i < k; i++) out[i] = i < m ? kept[i] : -1;
    return;
  }
  int padded = (m + W - 1) / W * W;
  for (int i = m; i < padded; i++) keep[i] = -kInf;
  float t = threshold(keep, padded, k, low, high);
  int above = 0;
  for (int i = 0; i < padded; i += W) above += __builtin_popcount(bits_gt(load(keep + i), all(t)));
  int ties = k - above;  // so many of those at the threshold belong to the set
  int32_t chosen[2 * W];
  for (int i = 0, n_out = 0; i < padded; i += W) {
    uint32_t greater = bits_gt(load(keep + i), all(t));
    uint32_t equal = bits_ge(load(keep + i), all(t)) & ~greater;
    uint32_t bits = greater;
    for (; equal && ties > 0; equal &= equal - 1, ties--) bits |= equal & -equal;
    int count = compress(chosen, kept + i, bits);
    memcpy(out + n_out, chosen, 4 * (size_t)count);
    n_out += count;
  }
}

}  // namespace
