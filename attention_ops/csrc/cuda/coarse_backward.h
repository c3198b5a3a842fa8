// Coarse level, backward: two passes that keep nothing larger than a few rows, and no order left to
// chance. Both make the probabilities again from lse.
//
// CoarseQueries: a warp for four queries goes through the keys. With p the probability and g its
// gradient, the gradient of the query is scale * (sum p g key - delta * sum p key), where delta is
// sum p g; it is kept for CoarseKeys, where a warp for four keys goes through the queries.
#pragma once
#include "coarse_forward.h"

// Whether variant A took `key` out of the message of the query `row`, and its score's gradient
// then. The index of a row ascends, with -1, the largest as unsigned, at its end.
struct Taken {
  Bools yes;
  Floats grad_score;
};
QV_LANES Taken find_taken(const CudaCall& call, int64_t first_row, Ints row, Ints key) {
  const int topk = (int)call.topk;
  const int32_t* index = call.index + first_row * topk;
  Ints low = 0, left = topk;
  for (int size = topk; size > 0; size /= 2) {  // lower bound: the first that is not below key
    Ints half = left / 2, middle = low + half;
    Bools below = left > 0 && less_unsigned(get(index, row * topk + middle, left > 0, -1), key);
    low = choose(below, middle + 1, low);
    left = choose(below, left - half - 1, half);
  }
  Bools inside = low < topk;
  Bools yes = inside && get(index, row * topk + low, inside, -1) == key;
  return {yes, get(call.grad_score + first_row * topk, row * topk + low, yes, 0.f)};
}

template <typename T, int D>
struct CoarseQueries {
  static constexpr int kPhases = 1;
  QV_BOTH int64_t items(const CudaCall& call) { return call.B * call.M * tiles_of(call.P); }
  QV_BOTH int64_t bytes(const CudaCall&) { return 0; }

  QV_LANES void run(const CudaCall& call, int64_t item, float*) {
    const int64_t tiles = tiles_of(call.P), slab = quotient(item, tiles);
    const int64_t first = remainder_of(item, tiles) * kTile;
    const int64_t row = slab * call.P + first;
    const int count = (int)(call.P - first < kTile ? call.P - first : kTile);
    const T* key = (const T*)call.key + slab * call.R * D;
    const T* value = (const T*)call.value + slab * call.R * D;
    const uint8_t* mask = mask_of(call, slab);
    const bool takes = call.variant_a && call.topk;
    const float scale = (float)call.scale;
    Floats query[kTile][4], grad_message[kTile][4];
    load_rows<D>((const T*)call.query + row * D, count, query);
    load_rows<D>((const T*)call.grad_message + row * D, count, grad_message);
    Ints mine = asked<D, kTile>();
    Floats lse = get(call.lse + row, mine, mine < count, -kInfinity);
    Floats shift = choose(lse == -kInfinity, kInfinity, lse * kLog2e), delta = 0.f;
    Floats toward[kTile][4], mean[kTile][4];  // sums of p g key and of p key
    set_zero(toward);
    set_zero(mean);
    for (int n = 0; n < (int)call.R; n += Span<D>::kRows) {
      Ints number = Span<D>::slot() + n;
      Bools valid = is_key(call, mask, number);
      Floats key_row[4], value_row[4];
      load_channels<D>(key, number, Span<D>::column(), valid, key_row);
      load_channels<D>(value, number, Span<D>::column(), valid, value_row);
      Floats logit = choose(valid, dots<D>(query, key_row) * (scale * kLog2e), -kInfinity);
      Floats g = dots<D>(grad_message, value_row);
      if (takes) {
        Taken taken = find_taken(call, row, choose(mine < count, mine, 0), number);
        g = choose(taken.yes, taken.grad_score, g);
      }
      Floats p = exp2_of(logit - shift), pg = choose(valid, p * g, 0.f);
      delta = delta + pg;
      Floats weight[kTile], weight_toward[kTile];
#pragma unroll
      for (int f = 0; f < kTile; f++) {
        weight[f] = told<D, kTile>(p, f);
        weight_toward[f] = told<D, kTile>(pg, f);
      }
      add_weighted(mean, weight, key_row);
      add_weighted(toward, weight_toward, key_row);
    }
    delta = sum_over<Span<D>::kGroup, kLanes / 2>(delta);
    put(call.delta + row, mine, delta,
        teller<D, kTile>() && Span<D>::slot() == 0 && mine < count);
#pragma unroll
    for (int f = 0; f < kTile; f++) {
      Floats of_row = told<D, kTile>(delta, f);
#pragma unroll
      for (int e = 0; e < 4; e++) toward[f][e] = (toward[f][e] - of_row * mean[f][e]) * scale;
    }
    store_sums<D>((T*)call.grad_query + row * D, count, toward);
  }
};

template <typename T, int D>
struct CoarseKeys {
  static constexpr int kPhases = 1;
  QV_BOTH int64_t items(const CudaCall& call) { return call.B * call.M * tiles_of(call.R); }
  QV_BOTH int64_t bytes(const CudaCall&) { return 0; }

  QV_LANES void run(const CudaCall& call, int64_t item, float*) {
    const int64_t tiles = tiles_of(call.R), slab = quotient(item, tiles);
    const int64_t first = remainder_of(item, tiles) * kTile;
    const int64_t key_row = slab * call.R + first, row = slab * call.P;
    const int count = (int)(call.R - first < kTile ? call.R - first : kTile);
    const T* query = (const T*)call.query + row * D;
    const T* grad_message = (const T*)call.grad_message + row * D;
    const bool takes = call.variant_a && call.topk;
    const float scale = (float)call.scale;
    Floats key[kTile][4], value[kTile][4];
    load_rows<D>((const T*)call.key + key_row * D, count, key);
    load_rows<D>((const T*)call.value + key_row * D, count, value);
    Ints mine = asked<D, kTile>() + (int)first;
    Bools is_valid = is_key(call, mask_of(call, slab), mine);
    Floats grad_key[kTile][4], grad_value[kTile][4];
    set_zero(grad_key);
    set_zero(grad_value);
    for (int n = 0; n < (int)call.P; n += Span<D>::kRows) {
      Ints number = Span<D>::slot() + n;
      Bools inside = number < (int)call.P;
      Floats query_row[4], grad_row[4];
      load_channels<D>(query, number, Span<D>::column(), inside, query_row);
      load_channels<D>(grad_message, number, Span<D>::column(), inside, grad_row);
      Floats logit = dots<D>(key, query_row) * (scale * kLog2e), g = dots<D>(value, grad_row);
      Floats lse = get(call.lse + row, number, inside, -kInfinity);
      Floats delta = get(call.delta + row, number, inside, 0.f);
      Bools counts = is_valid && lse > -kInfinity;
      Floats p = choose(counts, exp2_of(logit - lse * kLog2e), 0.f), share = p;
      if (takes) {
        Taken taken = find_taken(call, row, choose(inside, number, 0), mine);
        g = choose(taken.yes, taken.grad_score, g);
        share = choose(taken.yes, 0.f, p);
      }
      Floats of_logit = choose(counts, p * (g - delta) * scale, 0.f);
      Floats weight[kTile], weight_logit[kTile];
#pragma unroll
      for (int f = 0; f < kTile; f++) {
        weight[f] = told<D, kTile>(share, f);
        weight_logit[f] = told<D, kTile>(of_logit, f);
      }
      add_weighted(grad_key, weight_logit, query_row);
      add_weighted(grad_value, weight, grad_row);
    }
    store_sums<D>((T*)call.grad_key + key_row * D, count, grad_key);
    store_sums<D>((T*)call.grad_value + key_row * D, count, grad_value);
  }
};
