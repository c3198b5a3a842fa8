// Lanes: one kernel body for two compilers.
//
// A body is written for a warp. Floats, Ints and Bools hold one number per lane: for nvcc they are
// float, int and bool of one thread, for any other C++ compiler arrays of 32 that every operation
// goes through (lanes_host.h), so that the same body runs and is tested where there is no GPU. What
// all lanes share is a plain int, float or bool, and only that may steer `if` and loops; lanes
// differ by choose() and by the `where` of memory operations.
#pragma once
#include <stdint.h>

#if defined(__CUDACC__)
#include "lanes_device.h"
#else
#include "lanes_host.h"
#endif

constexpr int kLanes = 32;
constexpr float kInfinity = __builtin_inff();
constexpr float kLog2e = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

QV_LANES Ints as_ints(Bools x) { return choose(x, Ints(1), Ints(0)); }

// Floats as integers of the same order, and back. -0 comes just before 0.
QV_LANES Ints ordered(Floats x) {
  Ints i = bits_of(x);
  return i ^ ((i >> 31) & 0x7fffffff);
}
QV_LANES Floats from_ordered(Ints i) { return float_of(i ^ ((i >> 31) & 0x7fffffff)); }

// Reductions over the lanes whose numbers differ in bits `low` to `high` only (powers of two).
template <int low, int high>
QV_LANES Floats sum_over(Floats x) {
#pragma unroll
  for (int bit = low; bit <= high; bit *= 2) x = x + shuffle_xor(x, bit);
  return x;
}
template <int low, int high>
QV_LANES Floats max_over(Floats x) {
#pragma unroll
  for (int bit = low; bit <= high; bit *= 2) x = maximum(x, shuffle_xor(x, bit));
  return x;
}
template <int low, int high>
QV_LANES Ints sum_over(Ints x) {
#pragma unroll
  for (int bit = low; bit <= high; bit *= 2) x = x + shuffle_xor(x, bit);
  return x;
}

// The same for N values at once, which end up spread over the lanes: from `high` down to `low`, a
// step halves either the values that a lane holds or, when one is left, only the lanes that differ.
// What is left stands in x[0 .. kept(N, span) - 1]; see holder_of() for whose it is.
template <int N, int low, int high>
QV_LANES void fold(Floats (&x)[N]) {
  int n = N;
#pragma unroll
  for (int bit = high; bit >= low; bit /= 2) {
    if (n > 1) {
      n /= 2;
      Bools upper = (lane() & bit) != 0;
#pragma unroll
      for (int i = 0; i < N / 2; i++)
        if (i < n) {
          Floats sent = choose(upper, x[i], x[i + n]);
          x[i] = choose(upper, x[i + n], x[i]) + shuffle_xor(sent, bit);
        }
    } else {
      x[0] = x[0] + shuffle_xor(x[0], bit);
    }
  }
}

// After a fold of N values over `span` lanes (a power of two, `low` apart): how many values a lane
// holds, the number of its first, and whether it is the one of those with the same values that
// writes them.
QV_BOTH constexpr int kept(int N, int span) { return span >= N ? 1 : N / span; }
template <int N, int low, int span>
QV_LANES Ints first_held() {
  constexpr int copies = span >= N ? span / N : 1;
  Ints place = (lane() / low) % span;
  return place / copies * kept(N, span);
}
template <int N, int low, int span>
QV_LANES Bools is_holder() {
  constexpr int copies = span >= N ? span / N : 1;
  return (lane() / low) % copies == 0;
}

// a / b and a % b of numbers that the launch found to be below 2 ** 31: a long division is slow.
QV_LANES int64_t quotient(int64_t a, int64_t b) { return (uint32_t)a / (uint32_t)b; }
QV_LANES int64_t remainder_of(int64_t a, int64_t b) { return (uint32_t)a % (uint32_t)b; }
