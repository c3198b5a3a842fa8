// Lanes as any C++ compiler sees them: 32 numbers that every operation goes through, one after the
// other. For tests of the bodies, not for speed.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#define QV_LANES static inline
#define QV_MEMBER inline  // of an object
#define QV_BOTH static inline

template <typename S>
struct Lanes {
  S of[32];

  Lanes() = default;
  Lanes(S x) {
    for (S& number : of) number = x;
  }

// Only the operators that a body uses are ever compiled for a type.
#define QV_OPERATOR(Result, op)                                          \
  friend Lanes<Result> operator op(const Lanes<S>& a, const Lanes<S>& b) { \
    Lanes<Result> r;                                                     \
    for (int i = 0; i < 32; i++) r.of[i] = (Result)(a.of[i] op b.of[i]); \
    return r;                                                            \
  }
  QV_OPERATOR(S, +)
  QV_OPERATOR(S, -)
  QV_OPERATOR(S, *)
  QV_OPERATOR(S, /)
  QV_OPERATOR(S, %)
  QV_OPERATOR(S, &)
  QV_OPERATOR(S, |)
  QV_OPERATOR(S, ^)
  QV_OPERATOR(S, >>)
  QV_OPERATOR(S, <<)
  QV_OPERATOR(bool, ==)
  QV_OPERATOR(bool, !=)
  QV_OPERATOR(bool, <)
  QV_OPERATOR(bool, <=)
  QV_OPERATOR(bool, >)
  QV_OPERATOR(bool, >=)
  QV_OPERATOR(bool, &&)
  QV_OPERATOR(bool, ||)
#undef QV_OPERATOR
  friend Lanes<bool> operator!(const Lanes<S>& a) {
    Lanes<bool> r;
    for (int i = 0; i < 32; i++) r.of[i] = !a.of[i];
    return r;
  }
};

typedef Lanes<float> Floats;
typedef Lanes<int> Ints;
typedef Lanes<bool> Bools;

// result.of[i] = expression, for every lane i.
#define QV_EACH(Result, expression)                   \
  {                                                   \
    Result r;                                         \
    for (int i = 0; i < 32; i++) r.of[i] = expression; \
    return r;                                         \
  }

QV_LANES Ints lane() QV_EACH(Ints, i);
QV_LANES Floats shuffle_xor(const Floats& x, int bit) QV_EACH(Floats, x.of[i ^ bit]);
QV_LANES Ints shuffle_xor(const Ints& x, int bit) QV_EACH(Ints, x.of[i ^ bit]);
QV_LANES Floats shuffle(const Floats& x, const Ints& from) QV_EACH(Floats, x.of[from.of[i] & 31]);
QV_LANES Floats choose(const Bools& which, const Floats& a, const Floats& b)
    QV_EACH(Floats, which.of[i] ? a.of[i] : b.of[i]);
QV_LANES Ints choose(const Bools& which, const Ints& a, const Ints& b)
    QV_EACH(Ints, which.of[i] ? a.of[i] : b.of[i]);
QV_LANES Floats maximum(const Floats& a, const Floats& b) QV_EACH(Floats, fmaxf(a.of[i], b.of[i]));
QV_LANES Floats minimum(const Floats& a, const Floats& b) QV_EACH(Floats, fminf(a.of[i], b.of[i]));
QV_LANES Floats absolute(const Floats& x) QV_EACH(Floats, fabsf(x.of[i]));
QV_LANES Floats exp2_of(const Floats& x) QV_EACH(Floats, exp2f(x.of[i]));
QV_LANES Floats log2_of(const Floats& x) QV_EACH(Floats, log2f(x.of[i]));
QV_LANES Ints count_bits(const Ints& x) QV_EACH(Ints, __builtin_popcount((unsigned)x.of[i]));
QV_LANES Bools less_unsigned(const Ints& a, const Ints& b)
    QV_EACH(Bools, (unsigned)a.of[i] < (unsigned)b.of[i]);
QV_LANES Ints bits_of(const Floats& x) {
  Ints r;
  memcpy(r.of, x.of, sizeof r.of);
  return r;
}
QV_LANES Floats float_of(const Ints& x) {
  Floats r;
  memcpy(r.of, x.of, sizeof r.of);
  return r;
}
QV_LANES int votes(const Bools& x) {
  unsigned bits = 0;
  for (int i = 0; i < 32; i++) bits |= (unsigned)x.of[i] << i;
  return (int)bits;
}
QV_LANES bool any_lane(const Bools& x) { return votes(x) != 0; }
QV_LANES void sync_lanes() {}

QV_LANES Floats get(const float* from, const Ints& at) QV_EACH(Floats, from[at.of[i]]);
QV_LANES Ints get(const int* from, const Ints& at) QV_EACH(Ints, from[at.of[i]]);
template <typename T>
QV_LANES Ints get(const T* from, const Ints& at, const Bools& where, const Ints& otherwise)
    QV_EACH(Ints, where.of[i] ? (int)from[at.of[i]] : otherwise.of[i]);
QV_LANES Floats get(const float* from, const Ints& at, const Bools& where, const Floats& otherwise)
    QV_EACH(Floats, where.of[i] ? from[at.of[i]] : otherwise.of[i]);
template <typename T, typename Number>
QV_LANES void put(T* to, const Ints& at, const Lanes<Number>& x, const Bools& where) {
  for (int i = 0; i < 32; i++)
    if (where.of[i]) to[at.of[i]] = (T)x.of[i];
}
template <int N>
QV_LANES void get_run(const float* from, const Ints& at, Floats (&x)[N]) {
  for (int n = 0; n < N; n++) x[n] = get(from + n, at);
}
#undef QV_EACH

// The stored types, and how their numbers come and go.
struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};
QV_LANES float widened(float x) { return x; }
QV_LANES float widened(BFloat x) {
  uint32_t bits = (uint32_t)x.bits << 16;
  float r;
  memcpy(&r, &bits, 4);
  return r;
}
QV_LANES float widened(Half x) {
  int exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
  float size = exponent == 31 ? (fraction ? NAN : INFINITY)
               : exponent     ? ldexpf((float)(fraction + 1024), exponent - 25)
                              : ldexpf((float)fraction, -24);
  return x.bits >> 15 ? -size : size;
}
QV_LANES void narrow(float x, float* to) { *to = x; }
QV_LANES void narrow(float x, BFloat* to) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  bits = x == x ? bits + 0x7fff + (bits >> 16 & 1) : bits | 0x400000;
  to->bits = (uint16_t)(bits >> 16);
}
QV_LANES void narrow(float x, Half* to) {
  uint16_t sign = signbit(x) ? 0x8000 : 0;
  float size = fabsf(x);
  if (x != x) {
    to->bits = 0x7e00;
  } else if (size >= 65520.f) {
    to->bits = sign | 0x7c00;
  } else if (size < 0x1p-14f) {  // subnormal; what rounds up to the first normal comes out right
    to->bits = (uint16_t)(sign | (int)nearbyintf(size * 0x1p24f));
  } else {
    int exponent;
    float fraction = frexpf(size, &exponent);  // in [1/2, 1)
    to->bits = (uint16_t)(sign | (((exponent + 13) << 10) + (int)nearbyintf(fraction * 2048.f)));
  }
}

template <int D, typename T>
QV_LANES void load_channels(const T* base, const Ints& row, const Ints& column, const Bools& where,
                            Floats (&x)[4]) {
  for (int i = 0; i < 32; i++)
    for (int e = 0; e < 4; e++)
      x[e].of[i] = where.of[i] ? widened(base[(int64_t)row.of[i] * D + column.of[i] + e]) : 0.f;
}
template <int D, typename T>
QV_LANES void store_channels(T* base, const Ints& row, const Ints& column, const Bools& where,
                             const Floats (&x)[4]) {
  for (int i = 0; i < 32; i++)
    for (int e = 0; e < 4 && where.of[i]; e++)
      narrow(x[e].of[i], base + (int64_t)row.of[i] * D + column.of[i] + e);
}
template <int D>
QV_LANES void add_channels(float* base, const Ints& row, const Ints& column, const Bools& where,
                           const Floats (&x)[4]) {
  for (int i = 0; i < 32; i++)
    for (int e = 0; e < 4 && where.of[i]; e++)
      base[(int64_t)row.of[i] * D + column.of[i] + e] += x[e].of[i];
}
