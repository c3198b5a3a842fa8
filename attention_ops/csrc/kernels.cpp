// All kernels for one instruction set: compiled once for each, with QV_WIDTH floats in a vector and
// QV_TABLE the name of the table they appear in.
#include "coarse_backward.h"
#include "coarse_forward.h"
#include "fine_backward.h"
#include "fine_forward.h"
#include "tree.h"

namespace {

template <typename Level>
void run(const Call& call, const Stretch& stretch, float* scratch) {
  Arena arena{scratch};
  Level level(call, stretch.slab, arena);
  level.pack();
  level.run(stretch);
}

template <typename Level>
int64_t floats(const Call& call) {
  Arena arena{nullptr};
  Level level(call, 0, arena);
  return arena.used;
}

// The stored type and the fan-out pick the instance of a level.
template <template <typename> class Level>
void run_coarse(const Call& call, const Stretch& stretch, float* scratch) {
  call.bfloat16 ? run<Level<uint16_t>>(call, stretch, scratch)
                : run<Level<float>>(call, stretch, scratch);
}

template <template <int, typename> class Level>
void run_fine(const Call& call, const Stretch& stretch, float* scratch) {
  if (call.F == 2)
    call.bfloat16 ? run<Level<2, uint16_t>>(call, stretch, scratch)
                  : run<Level<2, float>>(call, stretch, scratch);
  else
    call.bfloat16 ? run<Level<4, uint16_t>>(call, stretch, scratch)
                  : run<Level<4, float>>(call, stretch, scratch);
}

template <template <typename> class Pass>
void run_tree(const TreeCall& call, int64_t begin, int64_t end, float* scratch) {
  Arena arena{scratch};
  if (call.bfloat16)
    Pass<uint16_t>(call, arena).run(begin, end);
  else
    Pass<float>(call, arena).run(begin, end);
}

int64_t tree_floats(const TreeCall& call) {
  Arena arena{nullptr};
  Tree<float> tree(call, arena);
  return arena.used;
}

int64_t coarse_floats(const Call& call, bool backward) {
  return backward ? floats<CoarseBackward<float>>(call) : floats<CoarseForward<float>>(call);
}

int64_t fine_floats(const Call& call, bool backward) {
  if (call.F == 2)
    return backward ? floats<FineBackward<2, float>>(call) : floats<FineForward<2, float>>(call);
  return backward ? floats<FineBackward<4, float>>(call) : floats<FineForward<4, float>>(call);
}

}  // namespace

extern const Kernels QV_TABLE;
const Kernels QV_TABLE = {QV_NAME,
                          kTile,
                          run_coarse<CoarseForward>,
                          run_coarse<CoarseBackward>,
                          run_fine<FineForward>,
                          run_fine<FineBackward>,
                          coarse_floats,
                          fine_floats,
                          run_tree<Pyramid>,
                          run_tree<Merge>,
                          tree_floats};
