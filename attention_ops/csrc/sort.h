// Sorting networks on vectors of floats: the largest of a row, in descending order, without a branch.
//
// Bitonic: every stage compares each lane with one other. NaN must not come in. A run is `v` vectors
// that are sorted as one sequence, largest first; v is 1 or 2. Everything works on several runs side
// by side, since each stage waits for the one before it, and is written out by folds, since a loop
// over an array of vectors goes through memory.
#pragma once
#include "vector.h"

namespace {

template <int... lane>
QV_INLINE V reversed(V x, Lanes<lane...>) {
  return shuffle<(W - 1 - lane)...>(x, x);
}
QV_INLINE V larger_half(V a, V b) { return vmax(a, reversed(b, AllLanes())); }
QV_INLINE V smaller_half(V a, V b) { return vmin(a, reversed(b, AllLanes())); }

// One stage: lanes l and l ^ step in order, the larger first where l & size is 0.
template <int size, int step, int... lane>
QV_INLINE V exchange(V x, Lanes<lane...>) {
  V other = shuffle<(lane ^ step)...>(x, x);
#if QV_WIDTH == 16
  constexpr uint32_t larger = (((uint32_t)(!(lane & size) == !(lane & step)) << lane) | ...);
  return _mm512_mask_max_ps(_mm512_min_ps(x, other), (__mmask16)larger, x, other);
#else
  I larger = {(!(lane & size) == !(lane & step) ? -1 : 0)...};
  return choose(larger, vmax(x, other), vmin(x, other));
#endif
}

// Sorts vectors each by itself: the stages of one size, then those of all sizes.
template <int size, int step>
struct Stages {
  template <int... i>
  QV_INLINE void run(V* x, Lanes<i...> vectors) {
    ((x[i] = exchange<size, step>(x[i], AllLanes())), ...);
    Stages<size, step / 2>::run(x, vectors);
  }
};
template <int size>
struct Stages<size, 0> {
  template <int... i>
  QV_INLINE void run(V*, Lanes<i...>) {}
};
template <int size>
struct Sizes {
  template <int... i>
  QV_INLINE void run(V* x, Lanes<i...> vectors) {
    Sizes<size / 2>::run(x, vectors);
    Stages<size, size / 2>::run(x, vectors);
  }
};
template <>
struct Sizes<1> {
  template <int... i>
  QV_INLINE void run(V*, Lanes<i...>) {}
};
template <int n>
QV_INLINE void sort_each(V* x) {
  Sizes<W>::run(x, typename Count<n>::type());
}
// The same for vectors that rise and fall, or fall and rise.
template <int n>
QV_INLINE void sort_each_bitonic(V* x) {
  Stages<W, W / 2>::run(x, typename Count<n>::type());
}

// Neighbouring vectors 2 i and 2 i + 1, sorted, to runs of two.
template <int... i>
QV_INLINE void join_pairs(V* x, Lanes<i...>) {
  V halves[] = {(i % 2 ? smaller_half(x[i - 1], x[i]) : larger_half(x[i], x[i + 1]))...};
  ((x[i] = halves[i]), ...);
  sort_each_bitonic<sizeof...(i)>(x);
}

// Of neighbouring runs 2 i and 2 i + 1 the larger half, as run i: half as many runs.
template <int v, int... i>
QV_INLINE void keep_larger(V* x, Lanes<i...>) {
  if (v == 1) {
    ((x[i] = larger_half(x[2 * i], x[2 * i + 1])), ...);
  } else {
    V kept[] = {larger_half(x[i % 2 + i / 2 * 4], x[3 - i % 2 + i / 2 * 4])...};
    V sorted[] = {(i % 2 ? vmin(kept[i - 1], kept[i]) : vmax(kept[i], kept[i + 1]))...};
    ((x[i] = sorted[i]), ...);
  }
  sort_each_bitonic<sizeof...(i)>(x);
}

// Of n vectors, n / r to a row, the largest v * W of every row as runs: the first r * v vectors.
template <int v, int r, int n>
struct Largest {
  QV_INLINE void halve(V* x) {
    if constexpr (n > r * v) {
      keep_larger<v>(x, typename Count<n / 2>::type());
      Largest<v, r, n / 2>::halve(x);
    }
  }
  QV_INLINE void of(V* x) {
    sort_each<n>(x);
    if constexpr (v == 2) join_pairs(x, typename Count<n>::type());
    halve(x);
  }
};

}  // namespace
