// Dot products of Q rows that a warp holds with rows that it reads, and sums of rows.
//
// A row of D channels lies over D / 4 lanes, four channels each: a warp reads 128 / D rows at once,
// one in each slot. Every row goes through the same sums in the same order whatever its slot, so
// equal keys have equal logits.
#pragma once
#include "lanes.h"

template <int D>
struct Span {
  static constexpr int kGroup = D / 4;             // lanes along a row
  static constexpr int kRows = kLanes / kGroup;    // rows read at once
  QV_LANES Ints column() { return lane() % kGroup * 4; }
  QV_LANES Ints slot() { return lane() / kGroup; }
};

// Rows 0 .. count - 1 at `base`, every slot the same ones; zeros for the rest.
template <int D, int Q, typename T>
QV_LANES void load_rows(const T* base, int count, Floats (&rows)[Q][4]) {
#pragma unroll
  for (int f = 0; f < Q; f++) load_channels<D>(base, f, Span<D>::column(), f < count, rows[f]);
}

// The product of the row that the slot read with each of the Q held rows. A lane gets the one of
// held row asked<D, Q>(); where several get the same, teller<D, Q>() is true in one of them.
template <int D, int Q>
QV_LANES Floats dots(const Floats (&held)[Q][4], const Floats (&row)[4]) {
  Floats sums[Q];
#pragma unroll
  for (int f = 0; f < Q; f++)
    sums[f] = held[f][0] * row[0] + held[f][1] * row[1] + held[f][2] * row[2] + held[f][3] * row[3];
  fold<Q, 1, Span<D>::kGroup / 2>(sums);
  return sums[0];
}
template <int D, int Q>
QV_LANES Ints asked() {
  return first_held<Q, 1, Span<D>::kGroup>();
}
template <int D, int Q>
QV_LANES Bools teller() {
  return is_holder<Q, 1, Span<D>::kGroup>();
}
// Of what dots() gave, the number for held row f, in every lane of the slot.
template <int D, int Q>
QV_LANES Floats told(Floats x, int f) {
  constexpr int kGroup = Span<D>::kGroup;
  return shuffle(x, lane() / kGroup * kGroup + f * (kGroup / Q));
}

// sum[f] += weight[f] * row
template <int Q>
QV_LANES void add_weighted(Floats (&sum)[Q][4], const Floats (&weight)[Q], const Floats (&row)[4]) {
#pragma unroll
  for (int f = 0; f < Q; f++)
#pragma unroll
    for (int e = 0; e < 4; e++) sum[f][e] = sum[f][e] + weight[f] * row[e];
}
// The row that is the sum over f of weight[f] * held[f].
template <int Q>
QV_LANES void mixed(Floats (&row)[4], const Floats (&weight)[Q], const Floats (&held)[Q][4]) {
#pragma unroll
  for (int e = 0; e < 4; e++) {
    row[e] = weight[0] * held[0][e];
#pragma unroll
    for (int f = 1; f < Q; f++) row[e] = row[e] + weight[f] * held[f][e];
  }
}

template <int Q>
QV_LANES void set_zero(Floats (&sum)[Q][4]) {
#pragma unroll
  for (int f = 0; f < Q; f++)
#pragma unroll
    for (int e = 0; e < 4; e++) sum[f][e] = 0.f;
}

// Adds up over the slots and writes row f of the sums to row f of `base`, for f < count.
template <int D, int Q, typename T>
QV_LANES void store_sums(T* base, int count, const Floats (&sum)[Q][4]) {
  constexpr int kGroup = Span<D>::kGroup, kRows = Span<D>::kRows, kKept = kept(Q, kRows);
  Floats total[4][Q];
#pragma unroll
  for (int e = 0; e < 4; e++) {
#pragma unroll
    for (int f = 0; f < Q; f++) total[e][f] = sum[f][e];
    fold<Q, kGroup, kLanes / 2>(total[e]);
  }
  Ints first = first_held<Q, kGroup, kRows>();
  Bools holder = is_holder<Q, kGroup, kRows>();
#pragma unroll
  for (int i = 0; i < kKept; i++) {
    Floats row[4] = {total[0][i], total[1][i], total[2][i], total[3][i]};
    store_channels<D>(base, first + i, Span<D>::column(), holder && first + i < count, row);
  }
}
