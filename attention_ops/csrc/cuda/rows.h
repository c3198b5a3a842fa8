// Softmax and exact top-K of rows of logits in shared memory.
//
// Q rows lie interleaved: candidate n of row f stands at n * Q + f, and lane i goes through the
// cells i, i + 32, ..., which are all of row i % Q. Logits are to the base 2; -inf is no candidate.
// The number of cells is a multiple of 32.
//
// Top-K: the k-th largest value is found by bisection in the order of the floats, then all above
// it are taken and of its equals the first ones. NaN is never taken.
#pragma once
#include "lanes.h"

// Where the selected candidates of the rows go: place k of row f is at f * topk + k.
struct Chosen {
  int32_t* index;
  float* score;  // null in variant B
  int topk;
};

template <int Q>
QV_LANES Ints my_row() {
  return lane() % Q;
}
// The candidate at cell i + lane.
template <int Q>
QV_LANES Ints my_candidate(int i) {
  return i / Q + lane() / Q;
}

// Largest of each row, in all of its lanes.
template <int Q>
QV_LANES Floats row_max(const float* cells, int count) {
  Floats high = -kInfinity;
  for (int i = 0; i < count; i += kLanes) high = maximum(high, get(cells + i, lane()));
  return max_over<Q, kLanes / 2>(high);
}

// What is taken of a row: all above `threshold` and the first `ties` equal to it.
struct Cut {
  Floats threshold;
  Ints ties;
};

template <int Q>
QV_LANES Ints count_from(const float* cells, int count, Floats least) {
  Ints reached = 0;
  for (int i = 0; i < count; i += kLanes)
    reached = reached + as_ints(get(cells + i, lane()) >= least);
  return sum_over<Q, kLanes / 2>(reached);
}

template <int Q>
QV_LANES Cut cut_at(const float* cells, int count, int topk, Floats high) {
  Floats least = kInfinity;
  Ints valid = 0;
  for (int i = 0; i < count; i += kLanes) {
    Floats x = get(cells + i, lane());
    Bools is_number = x > -kInfinity;
    least = minimum(least, choose(is_number, x, kInfinity));
    valid = valid + as_ints(is_number);
  }
#pragma unroll
  for (int bit = Q; bit < kLanes; bit *= 2) least = minimum(least, shuffle_xor(least, bit));
  valid = sum_over<Q, kLanes / 2>(valid);
  // At least topk reach `low`, and no more than topk what lies above `top`.
  Bools few = valid <= topk;
  Ints low = ordered(choose(few, -__FLT_MAX__, least));
  Ints top = choose(few, low, ordered(high));
  while (any_lane(low < top)) {
    Ints differing = low ^ top;
    Ints middle = (low & top) + (differing >> 1) + (differing & 1);  // rounded up
    Ints reached = count_from<Q>(cells, count, from_ordered(middle));
    Bools enough = reached >= topk;
    low = choose(enough, middle, low);
    top = choose(enough, choose(reached == topk, middle, top), middle - 1);
  }
  Floats threshold = from_ordered(low);
  Ints above = 0;
  for (int i = 0; i < count; i += kLanes)
    above = above + as_ints(get(cells + i, lane()) > threshold);
  return {threshold, Ints(topk) - sum_over<Q, kLanes / 2>(above)};
}

// Goes through all cells in order: use(i, x, taken, place) with the value of the cell i + lane,
// whether it is taken, and as which of its row. Then fills the index up with -1.
template <int Q, typename Use>
QV_LANES void take(const float* cells, int count, const Cut& cut, const Chosen& chosen, Use use) {
  constexpr int kOfOneRow = Q == 1 ? -1 : Q == 2 ? 0x55555555 : 0x11111111;
  Ints mine = Ints(kOfOneRow) << my_row<Q>();
  Ints before = mine & ((Ints(-1) << lane()) ^ -1);
  Ints placed = 0, tied = 0;
  for (int i = 0; i < count; i += kLanes) {
    Floats x = get(cells + i, lane());
    Bools tie = x == cut.threshold;
    Ints ties = votes(tie);
    Bools taken = x > cut.threshold || (tie && tied + count_bits(ties & before) < cut.ties);
    Ints all_taken = votes(taken);
    use(i, x, taken, placed + count_bits(all_taken & before));
    placed = placed + count_bits(all_taken & mine);
    tied = tied + count_bits(ties & mine);
  }
  Ints at = my_row<Q>() * chosen.topk;
  for (int k = 0; k < chosen.topk; k += kLanes / Q) {
    Ints place = lane() / Q + k;
    Bools missing = place >= placed && place < chosen.topk;
    put(chosen.index, at + place, Ints(-1), missing);
    if (chosen.score) put(chosen.score, at + place, Floats(0.f), missing);
  }
}

// One softmax for a row: leaves 2 ** (logit - max) in the cells, 0 for what variant A takes out of
// the message, and returns the sum over the row. `lse` is natural. label(n) names candidate n.
template <int Q, typename Label>
QV_LANES Floats weigh_all(float* cells, int count, const Chosen& chosen, Label label, Floats& lse) {
  Floats high = row_max<Q>(cells, count);
  Floats shift = choose(high == -kInfinity, 0.f, high);
  Floats sum = 0.f;
  for (int i = 0; i < count; i += kLanes) sum = sum + exp2_of(get(cells + i, lane()) - shift);
  sum = sum_over<Q, kLanes / 2>(sum);
  lse = (shift + log2_of(sum)) * kLn2;
  Floats factor = choose(sum > 0.f, Floats(1.f) / sum, 0.f);
  if (chosen.topk == 0) {
    for (int i = 0; i < count; i += kLanes)
      put(cells + i, lane(), exp2_of(get(cells + i, lane()) - shift), true);
    return factor;
  }
  Ints at = my_row<Q>() * chosen.topk;
  take<Q>(cells, count, cut_at<Q>(cells, count, chosen.topk, high), chosen,
          [&](int i, Floats x, Bools taken, Ints place) {
            Floats weight = exp2_of(x - shift);
            put(chosen.index, at + place, label(my_candidate<Q>(i)), taken);
            if (chosen.score) {
              put(chosen.score, at + place, weight * factor, taken);
              weight = choose(taken, 0.f, weight);
            }
            put(cells + i, lane(), weight, true);
          });
  return factor;
}

// Softmax in each run of Q candidates: the cells of a run lie in Q * Q lanes side by side.
template <int Q>
QV_LANES Floats run_softmax(Floats logit, Floats& high, Floats& sum) {
  constexpr int kHigh = Q * Q / 2;
  high = max_over<Q, kHigh>(logit);
  high = choose(high == -kInfinity, 0.f, high);
  Floats weight = exp2_of(logit - high);
  sum = sum_over<Q, kHigh>(weight);
  return weight * choose(sum > 0.f, Floats(1.f) / sum, 0.f);
}

// Variant A: a softmax for each parent, times the parent's score (`score`, one for each run).
// Leaves the shares of the message in the cells; the selected are left out of it.
template <int Q, typename Label>
QV_LANES void weigh_runs(float* cells, int count, const float* score, int parents,
                         const Chosen& chosen, Label label, Floats& lse) {
  Floats top = row_max<Q>(cells, count);
  Floats shift = choose(top == -kInfinity, 0.f, top), total = 0.f, best = -kInfinity;
  for (int i = 0; i < count; i += kLanes) {
    Floats logit = get(cells + i, lane()), high, sum;
    Floats prob = run_softmax<Q>(logit, high, sum);
    Ints parent = my_candidate<Q>(i) / Q;
    Floats share = prob * get(score, parent, parent < parents, 0.f);
    share = choose(logit == -kInfinity, -kInfinity, share);
    total = total + exp2_of(logit - shift);
    best = maximum(best, share);
    put(cells + i, lane(), share, true);
  }
  lse = (shift + log2_of(sum_over<Q, kLanes / 2>(total))) * kLn2;
  best = max_over<Q, kLanes / 2>(best);
  Ints at = my_row<Q>() * chosen.topk;
  Cut cut = {kInfinity, 0};
  if (chosen.topk) cut = cut_at<Q>(cells, count, chosen.topk, best);
  take<Q>(cells, count, cut, chosen, [&](int i, Floats x, Bools taken, Ints place) {
    put(chosen.index, at + place, label(my_candidate<Q>(i)), taken);
    put(chosen.score, at + place, x, taken);
    put(cells + i, lane(), choose(taken || x == -kInfinity, 0.f, x), true);
  });
}
