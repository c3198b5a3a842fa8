// The C functions of the sampling op: which instruction set to use, and the work shared among
// threads, which are started for the call and joined at its end as in library.cpp.
#include <string.h>

#include <atomic>
#include <thread>
#include <vector>

#include "sampling.h"

#if defined(__x86_64__)
extern const SamplingKernels qv_avx512_sampling, qv_avx2_sampling;
#endif
extern const SamplingKernels qv_baseline_sampling;

extern "C" const char* qv_isa();

namespace {

const SamplingKernels& kernels() {
#if defined(__x86_64__)
  const char* name = qv_isa();
  if (!strcmp(name, "avx512")) return qv_avx512_sampling;
  if (!strcmp(name, "avx2")) return qv_avx2_sampling;
#endif
  return qv_baseline_sampling;
}

constexpr int64_t kBlock = 64;  // queries that a thread takes at a time

// Runs work(0 .. items - 1), each once, on as many threads as the call is worth.
template <typename Work>
void share(const Sampling& call, int64_t items, Work work) {
  constexpr double kWorthAThread = 2e6;  // multiply-adds, about 0.1 ms
  double total = 5.0 * call.B * call.Q * call.M * call.L * call.K * call.D;
  int64_t threads = (int64_t)(total / kWorthAThread) + 1;
  if (threads > call.threads) threads = call.threads;
  if (threads > items) threads = items;
  std::atomic<int64_t> next{0};
  auto run = [&] {
    int64_t item;
    while ((item = next.fetch_add(1)) < items) work(item);
  };
  std::vector<std::thread> others;
  for (int64_t t = 1; t < threads; t++) others.emplace_back(run);
  run();
  for (std::thread& other : others) other.join();
}

}  // namespace

#define QV_EXPORT extern "C" __attribute__((visibility("default")))

QV_EXPORT void qv_sample(const Sampling* call) {
  int64_t blocks = (call->Q + kBlock - 1) / kBlock;
  const SamplingKernels& table = kernels();
  share(*call, call->B * blocks, [&](int64_t item) {
    int64_t begin = item % blocks * kBlock, end = begin + kBlock;
    table.forward(*call, item / blocks, begin, end < call->Q ? end : call->Q);
  });
}

QV_EXPORT void qv_sample_backward(const Sampling* call) {
  const SamplingKernels& table = kernels();
  share(*call, call->B * call->M, [&](int64_t slab) { table.backward(*call, slab); });
}
