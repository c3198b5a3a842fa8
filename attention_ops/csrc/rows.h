// Rows of channels: conversion to padded float rows and back, sums of rows, softmax of a row.
//
// D is the number of channels, PD the same rounded up to kPad and filled with zeros. `typename T` is
// the stored type: float, or uint16_t for bfloat16.
#pragma once
#include "call.h"
#include "vector.h"

namespace {

constexpr int64_t kPad = 16;  // floats; a multiple of every W
constexpr int64_t kAlign = 16;

QV_INLINE int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Hands out aligned pieces of the scratch memory; with a null base it only counts.
struct Arena {
  float* base;
  int64_t used = 0;
  float* floats(int64_t n) {
    float* piece = base ? base + used : nullptr;
    used += round_up(n, kAlign);
    return piece;
  }
  int32_t* ints(int64_t n) { return (int32_t*)floats(n); }
};

QV_INLINE V load_as_float(const float* p) { return load(p); }
QV_INLINE V load_as_float(const uint16_t* p) {
  return (V)(__builtin_convertvector((H)*(const Hmem*)p, U) << 16);
}
QV_INLINE float as_float(float x) { return x; }
QV_INLINE float as_float(uint16_t x) {
  uint32_t bits = (uint32_t)x << 16;
  float y;
  memcpy(&y, &bits, 4);
  return y;
}

// Nearest, ties to even; NaN stays NaN.
QV_INLINE void store_from_float(float* p, V v) { store(p, v); }
QV_INLINE void store_from_float(uint16_t* p, V v) {
  U bits = (U)v;
  U rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  rounded = v == v ? rounded : (bits >> 16 | 0x40);
  *(Hmem*)p = __builtin_convertvector(rounded, H);
}

// D channels at `from` as PD floats.
template <typename T>
QV_LOOP void widen_row(float* to, const T* from, int64_t D, int64_t PD) {
  int64_t d = 0;
  for (; d + W <= D; d += W) store(to + d, load_as_float(from + d));
  for (; d < D; d++) to[d] = as_float(from[d]);
  for (; d < PD; d++) to[d] = 0.f;
}

template <typename T>
QV_LOOP void narrow_row(T* to, const float* from, int64_t D, float factor = 1.f) {
  int64_t d = 0;
  for (; d + W <= D; d += W) store_from_float(to + d, load(from + d) * factor);
  if (d == D) return;
  float rest[W] = {};
  for (int64_t i = d; i < D; i++) rest[i - d] = from[i] * factor;
  T converted[W];
  store_from_float(converted, load(rest));
  memcpy(to + d, converted, (size_t)(D - d) * sizeof(T));
}

// Asks for n entries that will be read, or written.
template <bool write, typename T>
QV_INLINE void ask_for(const T* from, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / (int64_t)sizeof(T)) __builtin_prefetch(from + i, write);
}

// n floats, n a multiple of W.
QV_INLINE void copy_vectors(float* to, const float* from, int64_t n) {
  for (int64_t i = 0; i < n; i += W) store(to + i, load(from + i));
}

QV_INLINE void fill(float* to, int64_t n, float x) {
  for (int64_t i = 0; i < n; i++) to[i] = x;
}

// Maximum of n floats, n a multiple of W.
QV_INLINE float row_max(const float* x, int64_t n) {
  V m = load(x);
  for (int64_t i = W; i < n; i += W) m = vmax(m, load(x + i));
  return hmax(m);
}

// x becomes 2 ** (x - shift), in place; returns the sum. A row of -inf gives zeros.
QV_INLINE float row_exp2(float* x, int64_t n, float shift) {
  V s = all(shift == -kInf ? 0.f : shift), sum{};
  for (int64_t i = 0; i < n; i += W) {
    V e = exp2_of(load(x + i) - s);
    store(x + i, e);
    sum += e;
  }
  return hsum(sum);
}

// lse[r] = ln(sum[r] * 2 ** shift[r]) for r < count <= W; -inf where the sum is 0.
QV_LOOP void write_lse(float* lse, const float* sum, const float* shift, int count) {
  float s[W], m[W], out[W];
  for (int r = 0; r < W; r++) {
    s[r] = r < count && sum[r] > 0.f ? sum[r] : 1.f;
    m[r] = r < count && sum[r] > 0.f ? shift[r] : -kInf;
  }
  V value = log_of(load(s)) + load(m) * kLn2;
  store(out, value);
  for (int r = 0; r < count; r++) lse[r] = out[r];
}

// Whether rows of a tensor can be read as they are: floats, no padding needed, nothing masked.
QV_INLINE bool reads_directly(const Call& call) {
  return !call.bfloat16 && !call.key_mask && call.D % kPad == 0;
}

// Masked copy of n rows as padded floats; masked rows are zero, so nothing under a mask is read.
template <typename T>
QV_LOOP void widen_rows(float* to, const T* from, const uint8_t* mask, int64_t n, int64_t D,
                          int64_t PD) {
  for (int64_t i = 0; i < n; i++) {
    if (mask && !mask[i])
      fill(to + i * PD, PD, 0.f);
    else
      widen_row(to + i * PD, from + i * D, D, PD);
  }
}

}  // namespace
