// Coarse level, backward: a tile's probabilities again, then the gradients of both products.
//
// One thread owns the slab; nothing larger than a tile of (L, S) is ever kept.
#pragma once
#include "coarse.h"

namespace {

// For every key: grad_key += dlogit * query and grad_value += share * grad_message over the tile.
template <int vectors>
QV_LOOP void tile_spread_columns(float* grad, const float* weight, int64_t width,
                                   const float* rows, int64_t S, int64_t PD) {
  V r[kTile][vectors];
  for (int t = 0; t < kTile; t++)
    for (int v = 0; v < vectors; v++) r[t][v] = load(rows + t * PD + v * W);
  for (int64_t s = 0; s < S; s++) {
    V sum[vectors];
    for (int v = 0; v < vectors; v++) sum[v] = load(grad + s * PD + v * W);
    for (int t = 0; t < kTile; t++) {
      V w = all(weight[t * width + s]);
      for (int v = 0; v < vectors; v++) sum[v] += w * r[t][v];
    }
    for (int v = 0; v < vectors; v++) store(grad + s * PD + v * W, sum[v]);
  }
}
QV_LOOP void tile_spread(float* grad, const float* weight, int64_t width, const float* rows,
                           int64_t S, int64_t PD) {
  constexpr int wide = 2;
  int64_t d = 0;
  for (; d + wide * W <= PD; d += wide * W)
    tile_spread_columns<wide>(grad + d, weight, width, rows + d, S, PD);
  for (; d < PD; d += W) tile_spread_columns<1>(grad + d, weight, width, rows + d, S, PD);
}

template <typename T>
struct CoarseBackward : Coarse<T> {
  typedef Coarse<T> Base;
  using Base::call, Base::S, Base::D, Base::PD, Base::width, Base::logits;

  const bool direct;
  float *value_panels, *zeros, *key_rows, *grad_key, *grad_value;
  float *grad_rows, *grad_query, *dshare;

  CoarseBackward(const Call& c, int64_t slab, Arena& arena)
      : Base(c, slab, arena), direct(reads_directly(c)) {
    value_panels = arena.floats(width * D);
    zeros = arena.floats(width);
    key_rows = direct ? (float*)Base::key : arena.floats(S * PD);
    grad_key = direct ? (float*)c.grad_key + slab * S * PD : arena.floats(S * PD);
    grad_value = direct ? (float*)c.grad_value + slab * S * PD : arena.floats(S * PD);
    grad_rows = arena.floats(kTile * PD);
    grad_query = arena.floats(kTile * PD);
    dshare = arena.floats(kTile * width);
  }

  void pack() {
    Base::pack();
    pack_panels(value_panels, Base::value, Base::mask, S, D);
    if (!direct) widen_rows(key_rows, Base::key, Base::mask, S, D, PD);
    fill(zeros, width, 0.f);
    fill(grad_key, S * PD, 0.f);
    fill(grad_value, S * PD, 0.f);
  }

  void run(const Stretch& stretch) {
    const T* grad_message = (const T*)call.grad_message + stretch.slab * call.P * D;
    T* grad_query_out = (T*)call.grad_query + stretch.slab * call.P * D;
    for (int64_t p = 0; p < call.P; p += kTile) {
      Base::read_tile(Base::rows, Base::query, p);
      Base::read_tile(grad_rows, grad_message, p);
      tile_dots(logits, width, Base::start, Base::rows, Base::key_panels, D, PD,
                (float)call.scale * kLog2e);
      tile_dots(dshare, width, zeros, grad_rows, value_panels, D, PD, 1.f);
      for (int64_t t = 0; t < kTile; t++)
        differentiate(stretch.slab * call.P + p + t, t, p + t < call.P);
      tile_mix(grad_query, dshare, width, key_rows, S, PD);
      tile_spread(grad_key, dshare, width, Base::rows, S, PD);
      tile_spread(grad_value, logits, width, grad_rows, S, PD);
      for (int64_t t = 0; t < kTile && p + t < call.P; t++)
        narrow_row(grad_query_out + (p + t) * D, grad_query + t * PD, D);
    }
    int64_t first = stretch.slab * S;
    for (int64_t s = 0; !direct && s < S; s++) {
      narrow_row((T*)call.grad_key + (first + s) * D, grad_key + s * PD, D);
      narrow_row((T*)call.grad_value + (first + s) * D, grad_value + s * PD, D);
    }
  }

  // Row t of `logits` becomes the shares of the message, row t of `dshare` the gradients of the
  // logits. In A the selected take their gradient from the scores, not from the message.
  void differentiate(int64_t row, int64_t t, bool exists) {
    float *x = logits + t * width, *g = dshare + t * width;
    if (!exists || call.lse[row] == -kInf) {
      fill(x, width, 0.f);
      fill(g, width, 0.f);
      return;
    }
    int64_t selected = call.variant_a ? call.topk : 0;
    const int32_t* index = call.index + row * call.topk;
    for (int64_t k = 0; k < selected && index[k] >= 0; k++)
      g[index[k]] = call.grad_score[row * call.topk + k];
    V shift = all(call.lse[row] * kLog2e), sum{};
    for (int64_t s = 0; s < width; s += W) {
      V prob = exp2_of(load(x + s) - shift);
      store(x + s, prob);
      sum += prob * load(g + s);
    }
    V mean = all(hsum(sum)), scale = all((float)call.scale);
    for (int64_t s = 0; s < width; s += W)
      store(g + s, load(x + s) * (load(g + s) - mean) * scale);
    for (int64_t k = 0; k < selected && index[k] >= 0; k++) x[index[k]] = 0.f;
  }
};

}  // namespace
