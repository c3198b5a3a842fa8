// Coarse level, forward: a tile of logits, its selection, softmax and weighted sum.
#pragma once
#include "coarse.h"
#include "select.h"

namespace {

template <typename T>
struct CoarseForward : Coarse<T> {
  typedef Coarse<T> Base;
  using Base::call, Base::S, Base::D, Base::PD, Base::width, Base::logits;

  float *value_rows, *keep;
  int32_t *token, *kept;

  CoarseForward(const Call& c, int64_t slab, Arena& arena) : Base(c, slab, arena) {
    value_rows = reads_directly(c) ? nullptr : arena.floats(S * PD);
    token = arena.ints(width);
    keep = arena.floats(kTile * (width + 2 * W));
    kept = arena.ints(kTile * (width + 2 * W));
  }

  void pack() {
    Base::pack();
    if (value_rows) widen_rows(value_rows, Base::value, Base::mask, S, D, PD);
    for (int64_t s = 0; s < width; s++) token[s] = (int32_t)s;
  }

  void run(const Stretch& stretch) {
    for (int64_t p = stretch.begin; p < stretch.end; p += kTile) {
      int64_t row = stretch.slab * call.P + p;
      int count = (int)(stretch.end - p < kTile ? stretch.end - p : kTile);
      Base::read_tile(Base::rows, Base::query, p);
      tile_dots(logits, width, Base::start, Base::rows, Base::key_panels, D, PD,
                (float)call.scale * kLog2e);
      float factor[kTile];
      weigh(row, count, factor);
      const float* rows = value_rows ? value_rows : (const float*)Base::value;
      tile_mix(Base::rows, logits, width, rows, S, PD);
      for (int t = 0; t < count; t++)
        narrow_row((T*)call.message + (row + t) * D, Base::rows + t * PD, D, factor[t]);
    }
  }

  // Selects, and leaves 2 ** (logit - max) in `logits`; `factor` makes probabilities of them. A
  // ranks by probability, which the logits order alike.
  void weigh(int64_t row, int count, float* factor) {
    float high[kTile], sum[kTile] = {};
    if (call.topk)
      select_rows<kTile>(logits, width, count, token, (int)width, (int)call.topk, keep, kept, high,
                         call.index + row * call.topk);
    for (int t = 0; t < count; t++) {
      float* x = logits + t * width;
      if (!call.topk) high[t] = row_max(x, width);
      sum[t] = row_exp2(x, width, high[t]);
      factor[t] = sum[t] > 0.f ? 1.f / sum[t] : 0.f;
      if (call.variant_a) take_selected(x, row + t, factor[t]);
    }
    write_lse(call.lse + row, sum, high, count);
  }

  // The probabilities of the selected become the scores and leave the message.
  void take_selected(float* x, int64_t row, float factor) {
    for (int64_t k = 0; k < call.topk; k++) {
      int32_t s = call.index[row * call.topk + k];
      call.score[row * call.topk + k] = s < 0 ? 0.f : x[s] * factor;
      if (s >= 0) x[s] = 0.f;
    }
  }
};

}  // namespace
