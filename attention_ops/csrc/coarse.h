// Coarse level: what its forward and backward share.
//
// A tile is `kTile` queries against all S keys; a row has `width` floats, S padded to whole panels.
// Keys are kept in panels (width / kPanel, D, kPanel): one panel holds kPanel keys, channel by
// channel, so the products of a tile with a panel stay in registers.
#pragma once
#include "rows.h"

namespace {

constexpr int kTile = 4;
constexpr int kPanelVectors = W == 16 ? 4 : 2;
constexpr int kPanel = kPanelVectors * W;

// Rows (S, D) in panels; masked rows and padding are zero.
template <typename T>
QV_LOOP void pack_panels(float* to, const T* from, const uint8_t* mask, int64_t S, int64_t D) {
  int64_t panels = round_up(S, kPanel) / kPanel;
  for (int64_t p = 0; p < panels; p++)
    for (int64_t s = p * kPanel; s < (p + 1) * kPanel; s++) {
      float* at = to + p * kPanel * D + s % kPanel;
      bool read = s < S && !(mask && !mask[s]);
      for (int64_t d = 0; d < D; d++) at[d * kPanel] = read ? as_float(from[s * D + d]) : 0.f;
    }
}

// out[t][s] = start[s] + factor * row t . key s, for a tile of rows PD apart. The factor comes last, so
// that products that are equal give equal logits.
QV_LOOP void tile_dots(float* out, int64_t width, const float* start, const float* rows,
                         const float* panels, int64_t D, int64_t PD, float factor) {
  for (int64_t s = 0; s < width; s += kPanel) {
    const float* panel = panels + s * D;
    V sum[kTile][kPanelVectors];
    zero(sum);
    for (int64_t d = 0; d < D; d++) {
      V k[kPanelVectors];
      for (int v = 0; v < kPanelVectors; v++) k[v] = load(panel + d * kPanel + v * W);
      for (int t = 0; t < kTile; t++) {
        V q = all(rows[t * PD + d]);
        for (int v = 0; v < kPanelVectors; v++) sum[t][v] += q * k[v];
      }
    }
    for (int t = 0; t < kTile; t++)
      for (int v = 0; v < kPanelVectors; v++)
        store(out + t * width + s + v * W, sum[t][v] * factor + load(start + s + v * W));
  }
}

// out[t] = sum over s of weight[t][s] * row s, `vectors` of channels at a time.
template <int vectors>
QV_LOOP void tile_mix_columns(float* out, const float* weight, int64_t width, const float* rows,
                                int64_t S, int64_t PD) {
  V sum[kTile][vectors];
  zero(sum);
  for (int64_t s = 0; s < S; s++) {
    V r[vectors];
    for (int v = 0; v < vectors; v++) r[v] = load(rows + s * PD + v * W);
    for (int t = 0; t < kTile; t++) {
      V w = all(weight[t * width + s]);
      for (int v = 0; v < vectors; v++) sum[t][v] += w * r[v];
    }
  }
  for (int t = 0; t < kTile; t++)
    for (int v = 0; v < vectors; v++) store(out + t * PD + v * W, sum[t][v]);
}
QV_LOOP void tile_mix(float* out, const float* weight, int64_t width, const float* rows,
                        int64_t S, int64_t PD) {
  constexpr int wide = W == 16 ? 4 : 2, half = wide / 2;
  int64_t d = 0;
  for (; d + wide * W <= PD; d += wide * W)
    tile_mix_columns<wide>(out + d, weight, width, rows + d, S, PD);
  for (; d + half * W <= PD; d += half * W)
    tile_mix_columns<half>(out + d, weight, width, rows + d, S, PD);
  for (; d < PD; d += W) tile_mix_columns<1>(out + d, weight, width, rows + d, S, PD);
}

template <typename T>
struct Coarse {
  const Call& call;
  const int64_t S, D, PD, width;
  const T *query, *key, *value;  // of this slab
  const uint8_t* mask;           // (S) or null

  float *key_panels, *start, *rows, *logits;

  Coarse(const Call& c, int64_t slab, Arena& arena)
      : call(c), S(c.R), D(c.D), PD(round_up(c.D, kPad)), width(round_up(c.R > 0 ? c.R : 1, kPanel)) {
    query = (const T*)c.query + slab * c.P * D;
    key = (const T*)c.key + slab * S * D;
    value = (const T*)c.value + slab * S * D;
    mask = c.key_mask ? c.key_mask + slab / c.M * S : nullptr;
    key_panels = arena.floats(width * D);
    start = arena.floats(width);
    rows = arena.floats(kTile * PD);
    logits = arena.floats(kTile * width);
  }

  void pack() {
    pack_panels(key_panels, key, mask, S, D);
    for (int64_t s = 0; s < width; s++) start[s] = s < S && !(mask && !mask[s]) ? 0.f : -kInf;
  }

  // Up to kTile rows of channels from row `first`; the rest of the tile is zero.
  void read_tile(float* to, const T* from, int64_t first) {
    for (int64_t t = 0; t < kTile; t++) {
      if (first + t < call.P)
        widen_row(to + t * PD, from + (first + t) * D, D, PD);
      else
        fill(to + t * PD, PD, 0.f);
    }
  }
};

}  // namespace
