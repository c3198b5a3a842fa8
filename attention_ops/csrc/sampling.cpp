// The sampling op for one instruction set: weighted sums of bilinear samples, and their gradients.
//
// Compiled once for each set, as kernels.cpp is. Points off a map and locations that are no numbers
// have no corners: they read nothing, give zeros and get the gradient 0.
#include "sampling.h"

#include <math.h>

#include "vector.h"

namespace {

// A corner of a bilinear sample: where its row of D values starts, and its share of the sample.
struct Corner {
  int64_t row;
  float share, by_x, by_y;  // the share and its derivatives by x and y in cells
};

// The corners of the sample at x, y that lie on the map; returns how many.
QV_INLINE int corners_at(float x, float y, int64_t height, int64_t width, int64_t first,
                         int64_t stride, Corner* out) {
  if (!(x > -1 && y > -1 && x < (float)width && y < (float)height)) return 0;
  float left = floorf(x), top = floorf(y), right = x - left, below = y - top;
  int64_t i = (int64_t)left, j = (int64_t)top;
  int count = 0;
  for (int dy = 0; dy < 2; dy++)
    for (int dx = 0; dx < 2; dx++) {
      if (i + dx < 0 || i + dx >= width || j + dy < 0 || j + dy >= height) continue;
      float along = dx ? right : 1 - right, down = dy ? below : 1 - below;
      int64_t row = (first + (j + dy) * width + i + dx) * stride;
      out[count++] = {row, along * down, dx ? down : -down, dy ? along : -along};
    }
  return count;
}

// Corners of one query and head, added up together as long as there is room.
struct Corners {
  static constexpr int kRoom = 256;
  int count = 0;
  Corner at[kRoom];
};

// out (+)= sum of share * row over the corners, for n vectors of channels from `d` on.
template <int n>
QV_INLINE void sum_rows(const float* value, const Corners& corners, int64_t d, bool add,
                        float* out) {
  V sum[n];
  for (int v = 0; v < n; v++) sum[v] = add ? load(out + d + v * W) : V{};
  for (int c = 0; c < corners.count; c++)
    for (int v = 0; v < n; v++)
      sum[v] += corners.at[c].share * load(value + corners.at[c].row + d + v * W);
  for (int v = 0; v < n; v++) store(out + d + v * W, sum[v]);
}

QV_LOOP void sum_corners(const float* value, const Corners& corners, int64_t D, bool add,
                         float* out) {
  int64_t d = 0;
  for (; d + 4 * W <= D; d += 4 * W) sum_rows<4>(value, corners, d, add, out);
  for (; d + 2 * W <= D; d += 2 * W) sum_rows<2>(value, corners, d, add, out);
  for (; d + W <= D; d += W) sum_rows<1>(value, corners, d, add, out);
  for (; d < D; d++) {
    float sum = add ? out[d] : 0;
    for (int c = 0; c < corners.count; c++)
      sum += corners.at[c].share * value[corners.at[c].row + d];
    out[d] = sum;
  }
}

QV_INLINE float dot(const float* a, const float* b, int64_t D) {
  V sum = V{};
  int64_t d = 0;
  for (; d + W <= D; d += W) sum += load(a + d) * load(b + d);
  float total = D >= W ? hsum(sum) : 0;
  for (; d < D; d++) total += a[d] * b[d];
  return total;
}

QV_INLINE void add_multiple(float* out, float factor, const float* a, int64_t D) {
  int64_t d = 0;
  for (; d + W <= D; d += W) store(out + d, load(out + d) + factor * load(a + d));
  for (; d < D; d++) out[d] += factor * a[d];
}

// Calls see(point, map, corners, count) for every point of one query and head; `point` counts all
// points of the call.
template <typename See>
QV_INLINE void each_point(const Sampling& call, int64_t query, int64_t head, See see) {
  int64_t point = (query * call.M + head) * call.L * call.K;
  int64_t first = query / call.Q * call.S;
  for (int64_t l = 0; l < call.L; l++) {
    int64_t height = call.sizes[2 * l], width = call.sizes[2 * l + 1];
    for (int64_t k = 0; k < call.K; k++, point++) {
      Corner corners[4];
      float x = call.location[2 * point] * (float)width - 0.5f;
      float y = call.location[2 * point + 1] * (float)height - 0.5f;
      int count = corners_at(x, y, height, width, first, call.M * call.D, corners);
      see(point, l, corners, count);
    }
    first += height * width;
  }
}

void forward(const Sampling& call, int64_t item, int64_t begin, int64_t end) {
  Corners corners;
  for (int64_t query = item * call.Q + begin; query < item * call.Q + end; query++)
    for (int64_t head = 0; head < call.M; head++) {
      const float* value = call.value + head * call.D;
      float* out = call.message + (query * call.M + head) * call.D;
      bool started = false;
      corners.count = 0;
      each_point(call, query, head, [&](int64_t point, int64_t, const Corner* found, int count) {
        if (corners.count + count > Corners::kRoom) {
          sum_corners(value, corners, call.D, started, out);
          started = true;
          corners.count = 0;
        }
        for (int c = 0; c < count; c++) {
          corners.at[corners.count] = found[c];
          corners.at[corners.count++].share *= call.weight[point];
        }
      });
      sum_corners(value, corners, call.D, started, out);
    }
}

void backward(const Sampling& call, int64_t slab) {
  int64_t item = slab / call.M, head = slab % call.M;
  const float* value = call.value + head * call.D;
  float* grad_value = call.grad_value + head * call.D;
  for (int64_t query = item * call.Q; query < (item + 1) * call.Q; query++) {
    const float* grad = call.grad_message + (query * call.M + head) * call.D;
    each_point(call, query, head, [&](int64_t point, int64_t l, const Corner* corners, int count) {
      float weight = call.weight[point], sample = 0, by_x = 0, by_y = 0;
      for (int c = 0; c < count; c++) {
        float product = dot(value + corners[c].row, grad, call.D);
        sample += corners[c].share * product;
        by_x += corners[c].by_x * product;
        by_y += corners[c].by_y * product;
        add_multiple(grad_value + corners[c].row, weight * corners[c].share, grad, call.D);
      }
      call.grad_weight[point] = sample;
      call.grad_location[2 * point] = weight * by_x * (float)call.sizes[2 * l + 1];
      call.grad_location[2 * point + 1] = weight * by_y * (float)call.sizes[2 * l];
    });
  }
}

}  // namespace

#define QV_JOIN(a, b) a##b
#define QV_SAMPLING_OF(table) QV_JOIN(table, _sampling)

extern const SamplingKernels QV_SAMPLING_OF(QV_TABLE);
const SamplingKernels QV_SAMPLING_OF(QV_TABLE) = {forward, backward};
