// Trees of tokens over a map: its cells up to the tokens of every level, and tokens down to cells.
//
// A root is a token of the coarsest level; its leaves are the cells below it in nested order. Each
// pass goes through the leaves of a root once and keeps one row of channels per level, so a map is
// read and written once. Cells beyond the map and under the mask are zero.
#pragma once
#include "rows.h"

namespace {

// sum = row, or sum += row; C channels.
QV_LOOP void add_row(float* sum, const float* row, bool is_first, int64_t C) {
  int64_t c = 0;
  if (is_first) {
    memcpy(sum, row, (size_t)C * 4);
    return;
  }
  for (; c + W <= C; c += W) store(sum + c, load(sum + c) + load(row + c));
  for (; c < C; c++) sum[c] += row[c];
}
QV_LOOP void scale_row(float* row, float factor, int64_t C) {
  int64_t c = 0;
  for (; c + W <= C; c += W) store(row + c, load(row + c) * factor);
  for (; c < C; c++) row[c] *= factor;
}

// Channel pairs (d, d + D / 2) turned; turn (2, D) holds cosines and signed sines, and sign -1 undoes
// it. Whole vectors only; `rotate` takes every D.
QV_INLINE bool turns_in_vectors(int64_t D) { return D == W || D / 2 % W == 0; }
QV_INLINE V rotated(const float* row, const float* turn, float sign, int64_t d, int64_t D) {
  V partner = D == W ? swap_lanes<W / 2>(load(row), AllLanes())
                     : load(row + (d < D / 2 ? d + D / 2 : d - D / 2));
  return load(row + d) * load(turn + d) + partner * (load(turn + D + d) * sign);
}
QV_LOOP void rotate(float* to, const float* row, const float* turn, float sign, int64_t D) {
  const int64_t half = D / 2;
  if (turns_in_vectors(D)) {
    for (int64_t d = 0; d < D; d += W) store(to + d, rotated(row, turn, sign, d, D));
    return;
  }
  for (int64_t d = 0; d < D; d++)
    to[d] = row[d] * turn[d] + row[d < half ? d + half : d - half] * (turn[D + d] * sign);
}

constexpr int kMaxLevels = 16;

// What both passes share. `T` is the stored type of cells and tokens.
template <typename T>
struct Tree {
  const TreeCall& call;
  const int64_t C, F, last;  // last: number of the finest level
  int64_t leaves, side_rows, side_columns, roots_across, roots;
  int64_t shift[kMaxLevels];   // log2 of the leaves of a token of a level
  int64_t tokens[kMaxLevels];  // of a level, in one batch item
  int64_t before[kMaxLevels];  // tokens of all coarser levels
  int64_t inside[kMaxLevels];  // the same in one root
  float *level_row, *wide, *turned;
  int32_t *down, *across, *valid;  // where a leaf lies in its root; valid children of a token

  // The root at hand: its batch item, its cell at the top left and its first token of each level.
  int64_t batch, top, left, start[kMaxLevels];

  Tree(const TreeCall& c, Arena& arena)
      : call(c), C(c.M * c.D), F(c.fan_rows * c.fan_columns), last(c.levels - 1) {
    leaves = side_rows = side_columns = 1;
    shift[last] = 0;
    for (int64_t l = last; l > 0; l--) {
      leaves *= F;
      side_rows *= c.fan_rows;
      side_columns *= c.fan_columns;
      shift[l - 1] = shift[l] + (F == 2 ? 1 : 2);
    }
    roots_across = (c.W + side_columns - 1) / side_columns;
    roots = (c.H + side_rows - 1) / side_rows * roots_across;
    for (int64_t l = 0; l <= last; l++) {
      tokens[l] = roots * (leaves >> shift[l]);
      before[l] = l ? before[l - 1] + tokens[l - 1] : 0;
      inside[l] = l ? inside[l - 1] + (leaves >> shift[l - 1]) : 0;
    }
    level_row = arena.floats(c.levels * C);
    wide = arena.floats(F * C);
    turned = arena.floats(c.D);
    down = arena.ints(leaves);
    across = arena.ints(leaves);
    valid = arena.ints(2 * leaves);
  }

  void place_leaves() {
    for (int64_t n = 0; n < leaves; n++) {
      down[n] = across[n] = 0;
      for (int64_t l = last, rows = 1, columns = 1, rest = n; l > 0; l--, rest /= F) {
        down[n] += (int32_t)(rest % F / call.fan_columns * rows);
        across[n] += (int32_t)(rest % F % call.fan_columns * columns);
        rows *= call.fan_rows;
        columns *= call.fan_columns;
      }
    }
  }

  void open(int64_t root) {
    batch = root / roots;
    root %= roots;
    top = root / roots_across * side_rows;
    left = root % roots_across * side_columns;
    for (int64_t l = 0; l <= last; l++) start[l] = root * (leaves >> shift[l]);
  }

  // Number of the cell at leaf n, or -1 beyond the map; `is_valid` knows the mask too.
  int64_t cell(int64_t n, bool& is_valid) const {
    int64_t y = top + down[n], x = left + across[n];
    is_valid = y < call.H && x < call.W;
    if (!is_valid) return -1;
    int64_t number = (batch * call.H + y) * call.W + x;
    is_valid = !call.mask || call.mask[number];
    return number;
  }

  // The first head of token `number` of the root; heads are tokens[level] * D apart.
  T* token(int64_t level, int64_t number) const {
    return (T*)call.tokens[level] +
           (batch * call.M * tokens[level] + start[level] + number) * call.D;
  }
  const float* turn(int64_t level, int64_t number) const {
    return call.turn + (before[level] + start[level] + number) * 2 * call.D;
  }

  const float* widened(const T* row, int64_t n, float* copy) const {
    if (!call.bfloat16) return (const float*)row;
    widen_row(copy, row, n, n);
    return copy;
  }
};

// Cells to tokens: every parent the mean or the sum of its valid children.
template <typename T>
struct Pyramid : Tree<T> {
  typedef Tree<T> Base;
  using Base::call, Base::C, Base::F, Base::last, Base::shift, Base::level_row;
  using Base::Base;

  void run(int64_t begin, int64_t end) {
    Base::place_leaves();
    for (int64_t root = begin; root < end; root++) {
      Base::open(root);
      run_root();
    }
  }

  // Siblings are read together, so that what is written lies together.
  void run_root() {
    int64_t children[kMaxLevels] = {};  // valid ones of the open token of each level
    const int64_t siblings = last ? F : 1;
    for (int64_t n = 0; n < Base::leaves; n += siblings) {
      const float* rows[4] = {};
      for (int64_t i = 0; i < siblings; i++) {
        bool is_valid;
        int64_t cell = Base::cell(n + i, is_valid);
        if (!is_valid) continue;
        rows[i] = Base::widened((const T*)call.cells + cell * C, C, Base::wide + i * C);
        if (last) add_row(level_row + (last - 1) * C, rows[i], children[last - 1]++ == 0, C);
      }
      put(last, n, rows, siblings);
      close(n + siblings, children);
    }
  }

  // The parents that are complete after the first `done` leaves.
  void close(int64_t done, int64_t* children) {
    for (int64_t l = last - 1; l >= 0 && !(done & ((1ll << shift[l]) - 1)); l--) {
      float* sum = level_row + l * C;
      if (call.mean && children[l] > 1) scale_row(sum, 1.f / (float)children[l], C);
      const float* row = children[l] ? sum : nullptr;
      if (row && l) add_row(level_row + (l - 1) * C, row, children[l - 1]++ == 0, C);
      put(l, (done >> shift[l]) - 1, &row, 1);
      children[l] = 0;
    }
  }

  // Writes `count` tokens that lie side by side; no row means zeros.
  void put(int64_t level, int64_t number, const float* const* rows, int64_t count) {
    const int64_t D = call.D;
    T* to = Base::token(level, number);
    for (int64_t m = 0; m < call.M; m++, to += Base::tokens[level] * D)
      for (int64_t i = 0; i < count; i++) {
        const float* turn = call.turn ? Base::turn(level, number + i) : nullptr;
        if (rows[i])
          write(to + i * D, rows[i] + m * D, turn, D);
        else
          memset(to + i * D, 0, (size_t)D * sizeof(T));
      }
  }

  void write(T* to, const float* row, const float* turn, int64_t D) {
    if (turn && turns_in_vectors(D)) {
      for (int64_t d = 0; d < D; d += W) store_from_float(to + d, rotated(row, turn, 1.f, d, D));
    } else if (turn) {
      rotate(Base::turned, row, turn, 1.f, D);
      narrow_row(to, Base::turned, D);
    } else if (D % W == 0) {
      for (int64_t d = 0; d < D; d += W) store_from_float(to + d, load(row + d));
    } else {
      narrow_row(to, row, D);
    }
  }
};

// Tokens to cells, the transpose of Pyramid: every cell gets the sum of the tokens above it, each
// times the weight of its level and, for means, the share of a child at every step down.
template <typename T>
struct Merge : Tree<T> {
  typedef Tree<T> Base;
  using Base::call, Base::C, Base::F, Base::last, Base::shift, Base::inside, Base::valid;
  using Base::level_row;
  using Base::Base;

  void run(int64_t begin, int64_t end) {
    Base::place_leaves();
    for (int64_t root = begin; root < end; root++) {
      Base::open(root);
      if (call.mean) count_valid();
      for (int64_t n = 0; n < Base::leaves; n++) {
        for (int64_t l = 0; l <= last; l++)
          if (!(n & ((1ll << shift[l]) - 1))) take(l, n >> shift[l]);
        write_leaf(n);
      }
    }
  }

  void write_leaf(int64_t n) {
    bool is_valid;
    int64_t cell = Base::cell(n, is_valid);
    if (cell < 0) return;
    T* to = (T*)call.cells + cell * C;
    if (is_valid)
      narrow_row(to, level_row + last * C, C);
    else
      memset(to, 0, (size_t)C * sizeof(T));
  }

  // Valid children of the tokens of every level above the finest, level after level.
  void count_valid() {
    for (int64_t i = 0; i < inside[last]; i++) valid[i] = 0;
    for (int64_t n = 0; n < Base::leaves; n++) {
      bool is_new;  // a valid token that its parent has not counted
      Base::cell(n, is_new);
      for (int64_t l = last - 1; l >= 0 && is_new; l--)
        is_new = valid[inside[l] + (n >> shift[l])]++ == 0;
    }
  }

  // Sets the row of a level to its token and what comes from the row above.
  void take(int64_t level, int64_t number) {
    const int64_t D = call.D;
    float weight = call.weight ? call.weight[level] : 1.f, share = level ? 1.f : 0.f;
    if (level && call.mean) {
      int32_t count = valid[inside[level - 1] + number / F];
      share = count ? 1.f / (float)count : 0.f;
    }
    float* to = level_row + level * C;
    const float* above = level ? to - C : to;
    if (!level) fill(to, C, 0.f);
    const T* from = Base::token(level, number);
    const float* turn = call.turn ? Base::turn(level, number) : nullptr;
    for (int64_t m = 0; m < call.M; m++, from += Base::tokens[level] * D) {
      const float* row = Base::widened(from, D, Base::wide);
      if (turn) {
        rotate(Base::turned, row, turn, -1.f, D);
        row = Base::turned;
      }
      int64_t d = 0;
      for (; d + W <= D; d += W)
        store(to + m * D + d, load(row + d) * weight + load(above + m * D + d) * share);
      for (; d < D; d++) to[m * D + d] = row[d] * weight + above[m * D + d] * share;
    }
  }
};

}  // namespace
