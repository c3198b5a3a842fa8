// Exact top-K of one row of floats: the set, in order of position, ties to the lower position.
//
// Knows nothing of attention. -inf and NaN are never selected. The threshold is found by bisection
// on the values (a float between two floats is looked for, then the whole order of the floats), so
// the result does not depend on the width of the vectors.
#pragma once
#include "sort.h"

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

// The search for one row's threshold: low has at least k values at or above it, high fewer.
struct Bracket {
  float low, high;
  int above_low, above_high;
  bool found;  // `low` is the threshold

  QV_INLINE Bracket start(float low, int above_low, float largest) {
    return {low, from_ordered(ordered(largest) + 1), above_low, 0, false};
  }

  // Where to look next: in turn where the counts put rank k, and in the middle; after a while, or
  // where floats run out, in the middle of the order of the floats.
  float probe(int step, int k) const {
    constexpr int kFloatSteps = 14;
    float share = step & 1 ? 0.5f : ((float)(above_low - k) + 0.5f) / (float)(above_low - above_high);
    float at = low + (high - low) * share;
    if (step < kFloatSteps && at > low && at < high) return at;
    return from_ordered((int32_t)(((int64_t)ordered(low) + ordered(high)) >> 1));
  }

  void learn(float at, int count, int k) {
    if (count >= k)
      low = at, above_low = count;
    else
      high = at, above_high = count;
    found = count == k || ordered(low) + 1 >= ordered(high);
  }
};

// Maxima of `parts` x W disjoint parts of the row: the largest is the row's; if k parts or more, then
// at least k values reach the smallest, and most do not.
template <int parts>
QV_INLINE void bounds_in(const float* x, int n, bool helps, float& low, float& largest) {
  V top[parts];
  for (int p = 0; p < parts; p++) top[p] = all(-kInf);
  int i = 0;
  for (; i + parts * W <= n; i += parts * W)
    for (int p = 0; p < parts; p++) top[p] = vmax(load(x + i + p * W), top[p]);
  for (; i < n; i += W) top[0] = vmax(load(x + i), top[0]);
  V most = top[0], least = -top[0];
  for (int p = 1; p < parts; p++) {
    most = vmax(most, top[p]);
    least = vmax(least, -top[p]);
  }
  largest = hmax(most);
  low = helps ? -hmax(least) : kLowest;
  if (!(low > kLowest)) low = kLowest;
}
QV_LOOP void bounds(const float* x, int n, int k, float& low, float& largest) {
  if (k <= W)
    bounds_in<1>(x, n, n >= 2 * W, low, largest);
  else if (k <= 2 * W)
    bounds_in<2>(x, n, n >= 4 * W, low, largest);
  else if (k <= 4 * W)
    bounds_in<4>(x, n, n >= 8 * W, low, largest);
  else
    bounds_in<8>(x, n, k <= 8 * W && n >= 16 * W, low, largest);
}

// Entries of the row at or above `low`, with their labels, padded with -inf to whole vectors.
QV_LOOP int keep_above(const float* x, const int32_t* label, int n, float low, float* keep,
                         int32_t* kept) {
  int m = 0;
  for (int i = 0; i < n; i += W) {
    uint32_t bits = bits_ge(load(x + i), all(low));
    compress(keep + m, x + i, bits);
    m += compress(kept + m, label + i, bits);
  }
  store(keep + m, all(-kInf));
  store(keep + m + W, all(-kInf));
  return m;
}

QV_INLINE float smallest(const float* x, int n) {
  float least = x[0];
  for (int i = 1; i < n; i++) least = x[i] < least ? x[i] : least;
  return least;
}

QV_INLINE void copy_labels(int32_t* to, const int32_t* from, int k) {
  int i = 0;
  for (; i + W <= k; i += W) store(to + i, load(from + i));
  for (; i < k; i++) to[i] = from[i];
}

// Of m kept entries, those above the threshold t, and of those equal to it the first ones, k in all.
QV_LOOP void take(const float* keep, int32_t* kept, int m, int k, float t, bool exact,
                    int32_t* out) {
  int ties = 0;  // so many of those at the threshold belong to the set
  if (!exact) {
    ties = k;
    for (int i = 0; i < m; i += W) ties -= __builtin_popcount(bits_gt(load(keep + i), all(t)));
  }
  int n = 0;
  for (int i = 0; i < m; i += W) {
    uint32_t bits = bits_ge(load(keep + i), all(t));
    if (!exact) {
      uint32_t greater = bits_gt(load(keep + i), all(t)), equal = bits & ~greater;
      bits = greater;
      for (; equal && ties > 0; equal &= equal - 1, ties--) bits |= equal & -equal;
    }
    n += compress(kept + n, kept + i, bits);  // never ahead of what is still to be read
  }
  copy_labels(out, kept, k);
}

// For each of r rows of n floats (a multiple of W): the k-th largest and the largest, NaN and what is
// missing as -inf; k <= v * W. Goes through g vectors of each row at a time, passing over those with
// nothing above the k-th so far.
template <int v, int g, int r>
QV_LOOP void thresholds(const float* const (&x)[r], int n, int k, float* threshold, float* largest) {
  const V none = all(-kInf);
  V top[r * v] = {};
  float sorted[r][v * W];
  for (int i = 0; i < n; i += g * W) {
    V group[r * g], both[2 * r * v];
    uint32_t news = 0;
    for (int q = 0; q < r; q++)
      for (int j = 0; j < g; j++) {
        group[q * g + j] = i + j * W < n ? vmax(load(x[q] + i + j * W), none) : none;
        if (i > 0) news |= bits_gt(group[q * g + j], all(sorted[q][k - 1]));
      }
    if (i > 0 && !news) continue;
    Largest<v, r, r * g>::of(group);
    for (int j = 0; j < r * v; j++) {
      int at = j + j / v * v;  // the runs of a row side by side
      both[at] = group[j];
      both[at + v] = i > 0 ? top[j] : none;
    }
    if (i > 0) keep_larger<v>(both, typename Count<r * v>::type());
    for (int j = 0; j < r * v; j++) {
      top[j] = i > 0 ? both[j] : group[j];
      store(sorted[j / v] + j % v * W, top[j]);
    }
  }
  for (int q = 0; q < r; q++) threshold[q] = sorted[q][k - 1], largest[q] = sorted[q][0];
}

// Labels of the k largest of a row whose k-th largest is t, in the order of the row; -1 for what is
// missing.
QV_LOOP void take_from_row(const float* x, const int32_t* label, int n, int k, float t,
                           int32_t* out) {
  if (t < kLowest) t = kLowest;
  int reach = 0, ties = k;  // so many of those at the threshold belong to the set
  for (int i = 0; i < n; i += W) {
    reach += __builtin_popcount(bits_ge(load(x + i), all(t)));
    ties -= __builtin_popcount(bits_gt(load(x + i), all(t)));
  }
  int m = 0;
  for (int i = 0; i < n; i += W) {
    uint32_t bits = bits_ge(load(x + i), all(t));
    if (reach > k) {
      uint32_t greater = bits_gt(load(x + i), all(t)), equal = bits & ~greater;
      bits = greater;
      for (; equal && ties > 0; equal &= equal - 1, ties--) bits |= equal & -equal;
    }
    m += compress_only(out + m, label + i, bits);
  }
  for (; m < k; m++) out[m] = -1;
}

// select_rows for few: k <= v * W. Long rows are thinned first.
template <int v, int R>
QV_INLINE void select_by_sorting(const float* x, int64_t row_size, int rows, const int32_t* label,
                                 int n, int k, float* keep, int32_t* kept, float* largest,
                                 int32_t* out) {
  constexpr int r = R < 2 ? R : 2;
  const int size = n + 2 * W;
  const bool thin = n > 8 * W;
  float t[R], high[R];
  const float* row[R];
  int m[R], longest = thin ? W : n;
  for (int q = 0; q < rows && thin; q++) {
    float low;
    bounds(x + q * row_size, n, k, low, high[q]);
    m[q] = keep_above(x + q * row_size, label, n, low, keep + q * size, kept + q * size);
    if (m[q] > longest) longest = (m[q] + W - 1) / W * W;
  }
  for (int q = 0; q < rows && thin; q++)
    for (int i = m[q]; i < longest; i += W) store(keep + q * size + i, all(-kInf));
  for (int q = 0; q < R; q++)
    row[q] = thin ? keep + (q < rows ? q : 0) * size : x + (q < rows ? q : 0) * row_size;
  if (longest <= 2 * W) {
    thresholds<v, 2, R>(row, longest, k, t, high);
  } else {
    for (int q = 0; q < R; q += r) {
      const float* few[r];
      for (int i = 0; i < r; i++) few[i] = row[q + i];
      thresholds<v, 4, r>(few, longest, k, t + q, high + q);
    }
  }
  for (int q = 0; q < rows; q++) {
    largest[q] = high[q];
    const int32_t* labels = thin ? kept + q * size : label;
    take_from_row(row[q], labels, longest, k, t[q], out + (int64_t)q * k);
  }
}

// For each of `rows` <= R rows of n floats (a multiple of W, padded with -inf; row_size apart):
// writes the labels of the k largest to `out`, in the order of the row, then -1 up to k, and the
// largest value to `largest`. The searches of the rows go on side by side, since each waits for its
// counts. `keep` and `kept` hold R * (n + 2 * W) entries each.
template <int R>
QV_LOOP void select_rows(const float* x, int64_t row_size, int rows, const int32_t* label, int n,
                         int k, float* keep, int32_t* kept, float* largest, int32_t* out) {
  const int size = n + 2 * W;
  if (k <= 2 * W) {
    k <= W ? select_by_sorting<1, R>(x, row_size, rows, label, n, k, keep, kept, largest, out)
           : select_by_sorting<2, R>(x, row_size, rows, label, n, k, keep, kept, largest, out);
    return;
  }
  Bracket search[R];
  int m[R], longest = 0;
  for (int r = 0; r < R; r++) {
    search[r] = {0.f, 0.f, 0, 0, true};
    m[r] = 0;
    if (r >= rows) continue;
    float low;
    bounds(x + r * row_size, n, k, low, largest[r]);
    m[r] = keep_above(x + r * row_size, label, n, low, keep + r * size, kept + r * size);
    if (m[r] <= k) continue;
    if (low == kLowest) low = smallest(keep + r * size, m[r]);
    search[r] = Bracket::start(low, m[r], largest[r]);
    if (m[r] > longest) longest = (m[r] + W - 1) / W * W;
  }
  for (int r = 0; r < R; r++)
    for (int i = m[r]; i < longest; i += W) store(keep + r * size + i, all(-kInf));
  for (int step = 0;; step++) {
    bool all_found = true;
    for (int r = 0; r < R; r++) all_found &= search[r].found;
    if (all_found) break;
    for (int r = 0; r < R; r++) {
      if (search[r].found) continue;
      float at = search[r].probe(step, k);
      search[r].learn(at, count_ge(keep + r * size, longest, at), k);
    }
  }
  for (int r = 0; r < rows; r++) {
    int32_t* to = out + (int64_t)r * k;
    if (m[r] > k) {
      take(keep + r * size, kept + r * size, m[r], k, search[r].low, search[r].above_low == k, to);
    } else if (m[r] <= k) {
      for (int i = 0; i < k; i++) to[i] = i < m[r] ? kept[r * size + i] : -1;
    }
  }
}

}  // namespace
