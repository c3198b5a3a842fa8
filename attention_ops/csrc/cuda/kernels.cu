// All kernels for one stored type: compiled once for each, with QV_TYPE the type and QV_SERVE the
// name of the function; with QV_WIDTH for that number of channels only.
#include "coarse_backward.h"
#include "fine_backward.h"
#include "fine_forward.h"
#include "kernels.h"
#include "launch.h"

#if defined(QV_WIDTH)
#define QV_WIDTHS QV_WIDTH
#else
#define QV_WIDTHS 16, 32, 64, 128
#endif

namespace {

template <int D, int F>
int64_t serve_fine(int kernel, const CudaCall& call, bool only_bytes) {
  switch (kernel) {
    case kFineForward:
      return serve<FineForward<QV_TYPE, D, F>>(call, only_bytes);
    case kFineBackward:
      return serve<FineBackward<QV_TYPE, D, F>>(call, only_bytes);
    case kFineGather:
      return serve<FineGather<QV_TYPE, D, F>>(call, only_bytes);
  }
  return kNoKernel;
}

template <int D>
int64_t serve_width(int kernel, const CudaCall& call, bool only_bytes) {
  switch (kernel) {
    case kCoarseForward:
      return serve<CoarseForward<QV_TYPE, D>>(call, only_bytes);
    case kCoarseQueries:
      return serve<CoarseQueries<QV_TYPE, D>>(call, only_bytes);
    case kCoarseKeys:
      return serve<CoarseKeys<QV_TYPE, D>>(call, only_bytes);
  }
  if (call.F == 2) return serve_fine<D, 2>(kernel, call, only_bytes);
  if (call.F == 4) return serve_fine<D, 4>(kernel, call, only_bytes);
  return kNoKernel;
}

template <int... widths>
int64_t serve_one_of(int kernel, const CudaCall& call, bool only_bytes) {
  int64_t result = kNoKernel;
  (void)((call.D == widths && (result = serve_width<widths>(kernel, call, only_bytes), true)) ||
         ...);
  return result;
}

}  // namespace

int64_t QV_SERVE(int kernel, const CudaCall& call, bool only_bytes) {
  return serve_one_of<QV_WIDTHS>(kernel, call, only_bytes);
}
