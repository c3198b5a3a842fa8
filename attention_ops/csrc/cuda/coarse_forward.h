// Coarse level, forward: every query looks at every key.
//
// A block of four warps works on four queries. Their logits, (4, S), live in shared memory and
// nowhere else: each warp makes the logits of its share of the keys, then selects for one query,
// then sums its share of the values.
#pragma once
#include "call.h"
#include "products.h"
#include "rows.h"

constexpr int kTile = 4;  // queries of a block, and its warps

// Tiles of `rows` rows; the last may be short.
QV_BOTH int64_t tiles_of(int64_t rows) { return (rows + kTile - 1) / kTile; }

QV_LANES const uint8_t* mask_of(const CudaCall& call, int64_t slab) {
  return call.key_mask ? call.key_mask + quotient(slab, call.M) * call.R : nullptr;
}
QV_LANES Bools is_key(const CudaCall& call, const uint8_t* mask, Ints key) {
  Bools inside = key < (int)call.R;
  return mask ? inside && get(mask, key, inside, 0) != 0 : inside;
}

template <typename T, int D>
struct CoarseForward {
  static constexpr int kPhases = 4;
  static constexpr int kStep = kTile * Span<D>::kRows;  // keys that the block reads at once
  QV_BOTH int64_t items(const CudaCall& call) { return call.B * call.M * tiles_of(call.P); }
  // The logits of a row, with a gap that puts the four rows into different banks; then the sums
  // and the factor of each warp.
  QV_BOTH int64_t padded(const CudaCall& call) { return (call.R + kLanes - 1) / kLanes * kLanes; }
  QV_BOTH int64_t pitch(const CudaCall& call) { return padded(call) + 8; }
  QV_BOTH int64_t bytes(const CudaCall& call) {
    return (kTile * pitch(call) + kTile * kTile * D + kTile) * 4;
  }

  const CudaCall& call;
  const int warp;
  float* const cells;
  const int64_t slab, first;  // first query of the tile
  const int count;            // queries in it

  QV_LANES CoarseForward at(const CudaCall& call, int64_t item, int warp, float* shared) {
    int64_t tiles = tiles_of(call.P), slab = quotient(item, tiles);
    int64_t first = remainder_of(item, tiles) * kTile;
    int64_t left = call.P - first;
    return {call, warp, shared, slab, first, (int)(left < kTile ? left : kTile)};
  }

  QV_LANES void run(const CudaCall& call, int64_t item, int warp, int phase, float* shared) {
    CoarseForward tile = at(call, item, warp, shared);
    if (phase == 0) tile.write_logits();
    if (phase == 1 && warp < tile.count) tile.weigh();
    if (phase == 2) tile.mix();
    if (phase == 3) tile.add_up();
  }

  QV_MEMBER float* sums() const { return cells + kTile * pitch(call); }
  QV_MEMBER float* factors() const { return sums() + kTile * kTile * D; }
  QV_MEMBER int64_t first_row() const { return slab * call.P + first; }

  QV_MEMBER void write_logits() const {
    const T* key = (const T*)call.key + slab * call.R * D;
    const uint8_t* mask = mask_of(call, slab);
    const float scale = (float)call.scale * kLog2e;
    Floats query[kTile][4];
    load_rows<D>((const T*)call.query + first_row() * D, count, query);
    Ints cell = asked<D, kTile>() * (int)pitch(call) + Span<D>::slot();
#pragma unroll 2
    for (int n = warp * Span<D>::kRows; n < (int)padded(call); n += kStep) {
      Ints number = Span<D>::slot() + n;
      Bools valid = is_key(call, mask, number);
      Floats row[4];
      load_channels<D>(key, number, Span<D>::column(), valid, row);
      Floats logit = dots<D>(query, row) * scale;
      put(cells + n, cell, choose(valid, logit, -kInfinity), teller<D, kTile>());
    }
  }

  // One row for each warp.
  QV_MEMBER void weigh() const {
    const int64_t row = first_row() + warp;
    const int topk = (int)call.topk;
    Chosen chosen = {call.index + row * topk, call.variant_a ? call.score + row * topk : nullptr,
                     topk};
    Floats lse;
    Floats factor = weigh_all<1>(cells + warp * pitch(call), (int)padded(call), chosen,
                                 [](Ints n) { return n; }, lse);
    put(call.lse + row, lane(), lse, lane() == 0);
    put(factors() + warp, lane(), factor, lane() == 0);
  }

  QV_MEMBER void mix() const {
    const T* value = (const T*)call.value + slab * call.R * D;
    const uint8_t* mask = mask_of(call, slab);
    Floats sum[kTile][4];
    set_zero(sum);
#pragma unroll 2
    for (int n = warp * Span<D>::kRows; n < (int)padded(call); n += kStep) {
      Ints number = Span<D>::slot() + n;
      Floats row[4], weight[kTile];
      load_channels<D>(value, number, Span<D>::column(), is_key(call, mask, number), row);
#pragma unroll
      for (int f = 0; f < kTile; f++) weight[f] = get(cells + f * pitch(call) + n, Span<D>::slot());
      add_weighted(sum, weight, row);
    }
    store_sums<D>(sums() + warp * kTile * D, kTile, sum);
  }

  // Four channels for each lane of the block.
  QV_MEMBER void add_up() const {
    Ints place = (lane() + warp * kLanes) * 4, row = place / D, column = place % D;
    Bools inside = row < count;
    Ints safe = choose(inside, row, 0);
    Floats factor = get(factors(), safe), total[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
    for (int w = 0; w < kTile; w++) {
      Floats part[4];
      get_run(sums() + w * kTile * D, safe * D + column, part);
#pragma unroll
      for (int e = 0; e < 4; e++) total[e] = total[e] + part[e] * factor;
    }
    store_channels<D>((T*)call.message + first_row() * D, row, column, inside, total);
  }
};
