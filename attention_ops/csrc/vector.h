// Vectors of QV_WIDTH floats: the few operations that the kernels need, and nothing of attention.
//
// GCC and Clang vector extensions with an explicit width. Intrinsics only where the compilers do
// not find the instruction from the plain expression (maximum, comparison to bits, compression).
// Everything has internal linkage: this file is compiled once per instruction set, and a function
// shared by name between them would crash older processors.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define QV_INLINE static inline __attribute__((always_inline))
// Loops worth a function of their own: compiled once, not into every caller.
#define QV_LOOP static __attribute__((noinline))

namespace {

constexpr int W = QV_WIDTH;
constexpr float kInf = __builtin_inff();
constexpr float kLog2e = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

typedef float V __attribute__((vector_size(4 * W)));
typedef int32_t I __attribute__((vector_size(4 * W)));
typedef uint32_t U __attribute__((vector_size(4 * W)));
typedef uint16_t H __attribute__((vector_size(2 * W)));
typedef float Vmem __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t Imem __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef uint16_t Hmem __attribute__((vector_size(2 * W), aligned(2), may_alias));

QV_INLINE V load(const float* p) { return *(const Vmem*)p; }
QV_INLINE void store(float* p, V v) { *(Vmem*)p = v; }
QV_INLINE I load(const int32_t* p) { return *(const Imem*)p; }
QV_INLINE void store(int32_t* p, I v) { *(Imem*)p = v; }
// x - 0, not 0 + x: the compilers see that it is x, and broadcast straight from memory.
QV_INLINE V all(float x) { return x - V{}; }
QV_INLINE I all(int32_t x) { return x - I{}; }

// Lanes of the pair (a, b), numbered 0 .. 2W - 1.
template <int... lane>
QV_INLINE V shuffle(V a, V b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, lane...);
#else
  return __builtin_shuffle(a, b, I{lane...});
#endif
}

template <int... lane>
struct Lanes {};
template <int n, int... lane>
struct Count : Count<n - 1, n - 1, lane...> {};
template <int... lane>
struct Count<0, lane...> {
  typedef Lanes<lane...> type;
};
typedef Count<W>::type AllLanes;

QV_INLINE V vmax(V a, V b) {
#if QV_WIDTH == 16
  return _mm512_max_ps(a, b);
#elif QV_WIDTH == 8
  return _mm256_max_ps(a, b);
#elif defined(__SSE2__)
  return _mm_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

QV_INLINE V vmin(V a, V b) {
#if QV_WIDTH == 16
  return _mm512_min_ps(a, b);
#elif QV_WIDTH == 8
  return _mm256_min_ps(a, b);
#elif defined(__SSE2__)
  return _mm_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

// The lanes that compare true, one bit each, lane 0 lowest. Comparisons with NaN are false.
QV_INLINE uint32_t bits_of(I yes) {
#if QV_WIDTH == 16
  return _mm512_movepi32_mask((__m512i)yes);
#elif QV_WIDTH == 8
  return _mm256_movemask_ps((V)yes);
#elif defined(__SSE2__)
  return _mm_movemask_ps((V)yes);
#else
  uint32_t bits = 0;
  for (int l = 0; l < W; l++) bits |= (uint32_t)(yes[l] & 1) << l;
  return bits;
#endif
}
QV_INLINE uint32_t bits_ge(V a, V b) {
#if QV_WIDTH == 16
  return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
#else
  return bits_of(a >= b);
#endif
}
QV_INLINE uint32_t bits_gt(V a, V b) {
#if QV_WIDTH == 16
  return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
#else
  return bits_of(a > b);
#endif
}

// `count`, one more in the lanes where a > b (a >= b).
QV_INLINE I count_gt(I count, V a, V b) {
#if QV_WIDTH == 16
  __mmask16 yes = _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
  return (I)_mm512_mask_add_epi32((__m512i)count, yes, (__m512i)count, _mm512_set1_epi32(1));
#else
  return count - (I)(a > b);
#endif
}
QV_INLINE I count_ge(I count, V a, V b) {
#if QV_WIDTH == 16
  __mmask16 yes = _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
  return (I)_mm512_mask_add_epi32((__m512i)count, yes, (__m512i)count, _mm512_set1_epi32(1));
#else
  return count - (I)(a >= b);
#endif
}

// Writes the lanes of the vector at `from` that `bits` names to `to`, in order; may write a whole
// vector. Returns how many lanes it wrote.
QV_INLINE int compress(int32_t* to, const int32_t* from, uint32_t bits) {
#if QV_WIDTH == 16
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16)bits, _mm512_loadu_si512(from)));
  return __builtin_popcount(bits);
#else
  int n = 0;
  for (; bits; bits &= bits - 1) to[n++] = from[__builtin_ctz(bits)];
  return n;
#endif
}
// The same, but writes nothing else.
QV_INLINE int compress_only(int32_t* to, const int32_t* from, uint32_t bits) {
#if QV_WIDTH == 16
  const int n = __builtin_popcount(bits);
  __m512i chosen = _mm512_maskz_compress_epi32((__mmask16)bits, _mm512_loadu_si512(from));
  _mm512_mask_storeu_epi32(to, (__mmask16)((1u << n) - 1), chosen);
  return n;
#else
  return compress(to, from, bits);
#endif
}
QV_INLINE int compress(float* to, const float* from, uint32_t bits) {
#if QV_WIDTH == 16
  _mm512_storeu_ps(to, _mm512_maskz_compress_ps((__mmask16)bits, _mm512_loadu_ps(from)));
  return __builtin_popcount(bits);
#else
  int n = 0;
  for (; bits; bits &= bits - 1) to[n++] = from[__builtin_ctz(bits)];
  return n;
#endif
}

// Not `= {}`, which GCC makes a call or a slow string instruction.
template <int rows, int columns>
QV_INLINE void zero(V (&sum)[rows][columns]) {
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) sum[r][c] = V{};
}

QV_INLINE V choose(I yes, V a, V b) { return yes ? a : b; }

// 2 ** x for x <= 0, relative error 1e-7; exactly 0 below -126 and at -inf.
QV_INLINE V exp2_of(V x) {
  I in_range = x >= all(-126.f);
  x = vmax(all(-126.f), x);
  V whole = x + 12582912.f;  // 1.5 * 2**23: the sum has no bits left for a fraction
  I n = (I)whole - 0x4B400000;
  V r = x - (whole - 12582912.f);  // in [-0.5, 0.5]
  V p = all(1.534581242594868e-4f);  // minimax of relative error on that range
  p = p * r + 1.3399930903688073e-3f;
  p = p * r + 9.618489071726799e-3f;
  p = p * r + 5.550328642129898e-2f;
  p = p * r + 2.4022646248340607e-1f;
  p = p * r + 6.931471824645996e-1f;
  p = p * r + 1.0f;
  return (V)(((I)p + (n << 23)) & in_range);
}

// Natural logarithm of normal positive floats, relative error 1e-7.
QV_INLINE V log_of(V x) {
  I bits = (I)x;
  I e = (bits - 0x3f3504f3) >> 23;  // the mantissa lands in [sqrt(1/2), sqrt(2))
  V m = (V)(bits - (e << 23));
  V s = (m - 1.f) / (m + 1.f);
  V z = s * s;
  V p = all(2.f / 9.f);  // log m = 2 atanh s
  p = p * z + 2.f / 7.f;
  p = p * z + 2.f / 5.f;
  p = p * z + 2.f / 3.f;
  p = p * z + 2.f;
  return p * s + __builtin_convertvector(e, V) * kLn2;
}

// Sums and maxima within each run of `run` neighbouring lanes, in all lanes of the run.
template <int step, int... lane>
QV_INLINE V swap_lanes(V a, Lanes<lane...>) {
  return shuffle<(lane ^ step)...>(a, a);
}
template <int run, int step = 1>
struct Butterfly {
  QV_INLINE V sum(V a) {
    return Butterfly<run, 2 * step>::sum(a + swap_lanes<step>(a, AllLanes()));
  }
  QV_INLINE V max(V a) {
    return Butterfly<run, 2 * step>::max(vmax(a, swap_lanes<step>(a, AllLanes())));
  }
};
template <int run>
struct Butterfly<run, run> {
  QV_INLINE V sum(V a) { return a; }
  QV_INLINE V max(V a) { return a; }
};
template <int F>
QV_INLINE V run_sum(V a) {
  return Butterfly<F>::sum(a);
}
template <int F>
QV_INLINE V run_max(V a) {
  return Butterfly<F>::max(a);
}
QV_INLINE float hsum(V a) { return Butterfly<W>::sum(a)[0]; }
QV_INLINE float hmax(V a) { return Butterfly<W>::max(a)[0]; }

// Of W / F vectors, each W / F partial sums of runs of F lanes, run j of the result is the sum of
// the runs of vector j.
template <int F, int s, int... lane>
QV_INLINE V join(V a, V b, Lanes<lane...>) {
  // Runs 2s at a time: the first s of a and of b, plus the second s of a and of b.
  V first = shuffle<((lane / F) % (2 * s) < s ? lane : lane - s * F + W)...>(a, b);
  V second = shuffle<((lane / F) % (2 * s) < s ? lane + s * F : lane + W)...>(a, b);
  return first + second;
}
template <int F, int s>
struct Reduce {
  QV_INLINE V of(const V* a) {
    V joined[s];
    for (int j = 0; j < s; j++) joined[j] = join<F, s>(a[j], a[j + s], AllLanes());
    return Reduce<F, s / 2>::of(joined);
  }
};
template <int F>
struct Reduce<F, 0> {
  QV_INLINE V of(const V* a) { return a[0]; }
};
template <int F>
QV_INLINE V transpose_sum(const V* a) {
  return Reduce<F, W / F / 2>::of(a);
}

// Lane l of the result is lane first + l / F of `a`.
template <int F, int first, int... lane>
QV_INLINE V spread(V a, Lanes<lane...>) {
  return shuffle<(first + lane / F)...>(a, a);
}

// first, first + 1, ...
template <int... lane>
QV_INLINE I positions(int32_t first, Lanes<lane...>) {
  return I{lane...} + first;
}
// The F children of each of the first W / F numbers.
template <int F, int... lane>
QV_INLINE I children_of(I numbers, Lanes<lane...> lanes) {
  return (I)spread<F, 0>((V)numbers, lanes) * F + I{(lane % F)...};
}

// F floats, again and again.
template <int F>
QV_INLINE V repeat(const float* from) {
#if QV_WIDTH == 16
  if (F == 4) return _mm512_broadcast_f32x4(_mm_loadu_ps(from));
#endif
  V x;
  for (int l = 0; l < W; l += F) memcpy((float*)&x + l, from, 4 * F);
  return x;
}

// a0 + a1, a2 + a3, ... b0 + b1, ...
template <int... lane>
QV_INLINE V pair_sum(V a, V b, Lanes<lane...>) {
  return shuffle<(2 * lane)...>(a, b) + shuffle<(2 * lane + 1)...>(a, b);
}

// a0 b0 a1 b1 ... in two vectors.
template <int... lane>
QV_INLINE void interleave(V a, V b, V& low, V& high, Lanes<lane...>) {
  low = shuffle<(lane / 2 + lane % 2 * W)...>(a, b);
  high = shuffle<(lane / 2 + lane % 2 * W + W / 2)...>(a, b);
}

}  // namespace
