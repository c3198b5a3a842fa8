// Fine level: what its forward and backward share.
//
// A block is the F children of one parent; its candidates are the F children of each of the parents
// in its list, k-major, child-minor. A row of candidates has `width` floats, F per parent, padded to
// whole vectors with -inf logits.
//
// Keys are copied child-minor. Where the parents of the blocks lie far apart, what else is read or
// written at a parent is copied beside its keys, so that a visit goes to one place in memory and not
// to two or four. Where they lie together the caches hold them anyway, and the copy would cost more.
#pragma once
#include "child_minor.h"

namespace {

// Softmax within each run of F logits (base 2), in place; -1 where the logit is -inf. Returns the sum
// of 2 ** (logit - high) over the row.
template <int F>
QV_LOOP float group_softmax(float* x, int64_t n, float high) {
  V total{}, above = all(high == -kInf ? 0.f : high);
  for (int64_t i = 0; i < n; i += W) {
    V logit = load(x + i);
    V top = run_max<F>(logit);
    I empty = top == all(-kInf);
    V e = exp2_of(logit - choose(empty, all(0.f), top));
    V sum = choose(empty, all(1.f), run_sum<F>(e));
    total += e * exp2_of(top - above);
    store(x + i, choose(logit == all(-kInf), all(-1.f), e / sum));
  }
  return hsum(total);
}

// out[f] = sum over candidates of weight[f][candidate] * its row; `vectors` of channels at a time.
template <int F, int vectors>
QV_LOOP void mix_columns(float* out, const float* weight, int64_t width, const float* rows,
                         const Parents& parents, int64_t PD) {
  constexpr int chains = F < 4 ? 2 : 1;  // independent sums, to keep the adders busy
  V sum[chains][F][vectors];
  for (int c = 0; c < chains; c++) zero(sum[c]);
  for (int64_t j = 0; j < parents.count; j++) {
    const float* row = rows + parents.list[j] * parents.step;
    const float* next = rows + parents.next[j] * parents.step;
    for (int c = 0; c < F; c++, row += PD, next += PD) {
      for (int i = 0; i < vectors * W; i += 16) __builtin_prefetch(next + i);
      for (int f = 0; f < F; f++) {
        V w = all(weight[f * width + j * F + c]);
        for (int v = 0; v < vectors; v++) sum[c % chains][f][v] += w * load(row + v * W);
      }
    }
  }
  for (int f = 0; f < F; f++)
    for (int v = 0; v < vectors; v++) {
      V total = sum[0][f][v];
      if (chains == 2) total += sum[chains - 1][f][v];
      store(out + f * PD + v * W, total);
    }
}
template <int F>
QV_LOOP void mix(float* out, const float* weight, int64_t width, const float* rows,
                 const Parents& parents, int64_t PD) {
  constexpr int wide = W == 16 ? 4 : 2, half = wide / 2;
  int64_t d = 0;
  for (; d + wide * W <= PD; d += wide * W)
    mix_columns<F, wide>(out + d, weight, width, rows + d, parents, PD);
  for (; d + half * W <= PD; d += half * W)
    mix_columns<F, half>(out + d, weight, width, rows + d, parents, PD);
  for (; d < PD; d += W)
    mix_columns<F, 1>(out + d, weight, width, rows + d, parents, PD);
}

template <int F, typename T>
struct Fine {
  const Call& call;
  const int64_t D, PD, width;
  const bool direct;
  const T *query, *key, *value;  // of this slab
  const uint8_t* mask;           // (R, F) or null

  // Scratch of both directions.
  float *key_minor, *bias_rows, *bias, *rows, *expanded, *logits;
  int32_t *parent, *slot, *ahead, *seen;
  int64_t parents = 0;  // valid ones of the current block
  int64_t step = 0;     // floats from the keys of a parent to those of the next

  // `beside`: how many pieces of F * PD floats a parent may get, its keys among them.
  Fine(const Call& c, int64_t slab, Arena& arena, int64_t beside)
      : call(c), D(c.D), PD(round_up(c.D, kPad)), width(round_up(c.K * F, W)),
        direct(reads_directly(c)) {
    query = (const T*)c.query + slab * c.P * F * D;
    key = (const T*)c.key + slab * c.R * F * D;
    value = (const T*)c.value + slab * c.R * F * D;
    mask = c.key_mask ? c.key_mask + slab / c.M * c.R * F : nullptr;
    key_minor = arena.floats(c.R * beside * F * PD);
    bias_rows = mask ? arena.floats(c.R * F) : nullptr;
    bias = mask ? arena.floats(width) : nullptr;
    rows = arena.floats(F * PD);
    expanded = arena.floats(F * PD * F);
    logits = arena.floats(F * width);
    parent = arena.ints(c.K + W);
    slot = arena.ints(c.K + W);
    ahead = arena.ints(c.K + W);
    seen = arena.ints(c.R + 1);
  }

  // Reads the list of block p without the absent parents; false if none is left. Whole vectors
  // of parents are filled up with the first.
  bool read_parents(int64_t slab, int64_t p) {
    const int32_t* list = call.parent_index + (slab * call.P + p) * call.K;
    parents = 0;
    for (int64_t k = 0; k < call.K; k++) {
      parent[parents] = list[k];
      slot[parents] = (int32_t)k;
      parents += list[k] >= 0;
    }
    for (int64_t k = parents; k % (W / F); k++) parent[k] = parent[0];
    const int32_t* next = p + 1 < call.P ? list + call.K : list;
    int64_t k = 0;
    for (; k + W <= call.K; k += W) {
      I numbers = load(next + k);
      store(ahead + k, numbers & ~(numbers >> 31));
    }
    for (; k < call.K; k++) ahead[k] = next[k] > 0 ? next[k] : 0;
    store(ahead + k, I{});
    return parents > 0;
  }
  Parents block() const { return {parent, ahead, parents, step}; }
  int64_t row_length() const { return round_up(parents * F, W); }

  void pack() {
    for (int64_t i = 0; mask && i < call.R * F; i++) bias_rows[i] = mask[i] ? 0.f : -kInf;
  }

  // Whether most parents have left the fast caches before a block looks at them again. The blocks go
  // through those caches in windows; a parent costs one visit in each window that names it. A quarter
  // of the windows is looked at, which is accurate enough.
  bool is_scattered(int64_t slab) const {
    constexpr int64_t kFast = 1 << 17;  // floats in the fast caches
    constexpr int64_t kWorthACopy = 4;  // visits
    if (call.P * call.K <= kWorthACopy * call.R) return false;
    const int64_t window = kFast / (call.K * 2 * F * PD) + 1;
    const int32_t* lists = call.parent_index + slab * call.P * call.K;
    for (int64_t r = 0; r <= call.R; r++) seen[r] = -1;
    int64_t visits = 0, blocks = 0;
    for (int64_t first = 0; first < call.P; first += 4 * window) {
      const int64_t end = first + window < call.P ? first + window : call.P;
      for (int64_t i = first * call.K; i < end * call.K; i++) {
        int32_t& window_of = seen[lists[i] >= 0 ? lists[i] : call.R];
        visits += window_of != (int32_t)first;
        window_of = (int32_t)first;
      }
      blocks += end - first;
    }
    return visits * call.P > kWorthACopy * call.R * blocks;
  }

  // The children of parent r, of keys or values, as padded floats; zeros under the mask.
  const float* children(const T* from, int64_t r) const {
    from += r * F * D;
    if (direct) return (const float*)from;
    widen_rows(rows, from, mask ? mask + r * F : nullptr, F, D, PD);
    return rows;
  }

  // The logits, to the base 2, of the query rows at `from`. Returns those rows as floats.
  const float* compute_logits(const T* from) {
    const float* queries = float_rows(rows, from);
    expand<F>(expanded, queries, PD);
    dots<F>(logits, width, expanded, key_minor, block(), PD, (float)call.scale * kLog2e);
    hide_invalid();
    return queries;
  }

  // The F rows at `from` as padded floats: themselves if they are, else a copy.
  const float* float_rows(float* copy, const T* from) const {
    if (!call.bfloat16 && D == PD) return (const float*)from;
    for (int f = 0; f < F; f++) widen_row(copy + f * PD, from + f * D, D, PD);
    return copy;
  }

  // Logits of the block are -inf under the mask and in the padding.
  void hide_invalid() {
    int64_t n = row_length();
    if (mask) {
      for (int64_t j = 0; j * F < n; j++) memcpy(bias + j * F, bias_rows + parent[j] * F, 4 * F);
      for (int f = 0; f < F; f++)
        for (int64_t i = 0; i < n; i += W)
          store(logits + f * width + i, load(logits + f * width + i) + load(bias + i));
    }
    for (int f = 0; f < F; f++)
      for (int64_t i = parents * F; i < n; i++) logits[f * width + i] = -kInf;
  }
};

}  // namespace
