// The C functions of the library: which instruction set to use, and the work shared among threads.
//
// Threads are started for the call and joined at its end. An OpenMP pool would be shared with torch
// on some installations and doubled on others (older wheels bring a renamed runtime), and it does
// not survive the fork of a data loader; starting a thread costs some 20 us, and calls that small
// run on the caller's thread.
#include <stdlib.h>
#include <string.h>

#include <atomic>
#include <thread>
#include <vector>

#include "call.h"

#if defined(__x86_64__)
extern const Kernels qv_avx512, qv_avx2;
#endif
extern const Kernels qv_baseline;

namespace {

bool processor_has(const char* name) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!strcmp(name, "avx512"))
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!strcmp(name, "avx2")) return avx2;
#endif
  return !strcmp(name, "baseline");
}

// The widest table that the processor and QUADVIEW_ISA allow.
const Kernels& kernels() {
  const Kernels* tables[] = {
#if defined(__x86_64__)
      &qv_avx512, &qv_avx2,
#endif
      &qv_baseline};
  const char* wanted = getenv("QUADVIEW_ISA");
  for (const Kernels* table : tables)
    if (processor_has(table->name) && (!wanted || !*wanted || !strcmp(wanted, table->name)))
      return *table;
  return qv_baseline;
}

// Scratch memory starts at a page, so that what a kernel lays out in powers of two lies in as few
// pages and pairs of cache lines as it can.
constexpr int64_t kPage = 1024;  // floats
int64_t whole_pages(int64_t floats) { return (floats + kPage - 1) / kPage * kPage; }
float* first_page(float* scratch) {
  constexpr uintptr_t bytes = kPage * sizeof(float);
  return (float*)(((uintptr_t)scratch + bytes - 1) / bytes * bytes);
}

// How the work of a call is cut: every slab in `parts`, done by `threads`.
struct Plan {
  int64_t threads, parts, scratch;  // scratch: floats of one thread
};

Plan plan(const Call& call, const Kernels& table, bool coarse, bool backward) {
  constexpr double kWorthAThread = 2e6;  // multiply-adds, about 0.1 ms
  double candidates = coarse ? (double)call.R : (double)(call.K * call.F);
  double work = 2.0 * call.B * call.M * call.P * call.F * candidates * call.D;
  int64_t slabs = call.B * call.M, parts = 1;
  int64_t threads = (int64_t)(work / kWorthAThread) + 1;
  if (threads > call.threads) threads = call.threads;
  if (backward) {
    if (threads > slabs) threads = slabs;
  } else {
    // Each part packs the slab's keys again: as few parts as keep all threads busy.
    while (slabs * parts % threads && slabs * parts < 4 * threads) parts++;
  }
  if (threads < 1) threads = 1;
  return {threads, parts,
          whole_pages(coarse ? table.coarse_floats(call, backward)
                             : table.fine_floats(call, backward))};
}

Stretch stretch_of(const Call& call, const Plan& plan, int64_t item, int64_t block) {
  int64_t blocks = (call.P + block - 1) / block;
  int64_t part = item % plan.parts;
  int64_t end = blocks * (part + 1) / plan.parts * block;
  return {item / plan.parts, blocks * part / plan.parts * block, end < call.P ? end : call.P};
}

void run(const Call& call, bool coarse, bool backward) {
  const Kernels& table = kernels();
  Plan p = plan(call, table, coarse, backward);
  auto kernel = coarse ? (backward ? table.coarse_backward : table.coarse_forward)
                       : (backward ? table.fine_backward : table.fine_forward);
  int64_t block = coarse ? table.coarse_block : 1;
  float* scratch = first_page(call.scratch);
  std::atomic<int64_t> next{0};
  auto work = [&](int64_t thread) {
    int64_t item;
    while ((item = next.fetch_add(1)) < call.B * call.M * p.parts)
      kernel(call, stretch_of(call, p, item, block), scratch + thread * p.scratch);
  };
  std::vector<std::thread> others;
  for (int64_t t = 1; t < p.threads; t++) others.emplace_back(work, t);
  work(0);
  for (std::thread& other : others) other.join();
}

int64_t scratch_floats(const Call& call, bool coarse, bool backward) {
  Plan p = plan(call, kernels(), coarse, backward);
  return p.threads * p.scratch + kPage;
}

// The roots of a tree call in equal parts, one to a thread; `scratch` is as in Call.
int64_t tree_threads(const TreeCall& call) {
  constexpr double kWorthAThread = 2.5e5;  // channels copied, about 0.1 ms
  int64_t wanted = (int64_t)((double)call.B * call.H * call.W * call.M * call.D / kWorthAThread) + 1;
  return wanted < call.threads ? wanted : call.threads;
}

void run_tree(const TreeCall& call, bool merge, float* scratch) {
  const Kernels& table = kernels();
  int64_t side_rows = 1, side_columns = 1, threads = tree_threads(call);
  for (int64_t l = 1; l < call.levels; l++) {
    side_rows *= call.fan_rows;
    side_columns *= call.fan_columns;
  }
  int64_t roots = (call.H + side_rows - 1) / side_rows * ((call.W + side_columns - 1) / side_columns);
  auto work = [&](int64_t t) {
    int64_t begin = call.B * roots * t / threads, end = call.B * roots * (t + 1) / threads;
    (merge ? table.merge : table.pyramid)(call, begin, end, scratch + t * table.tree_floats(call));
  };
  std::vector<std::thread> others;
  for (int64_t t = 1; t < threads; t++) others.emplace_back(work, t);
  work(0);
  for (std::thread& other : others) other.join();
}

}  // namespace

#define QV_EXPORT extern "C" __attribute__((visibility("default")))

// Read from the file before it is loaded: build.is_current().
QV_EXPORT const char* qv_sources() { return "quadview sources " QV_SOURCE_HASH; }
QV_EXPORT const char* qv_isa() { return kernels().name; }
QV_EXPORT int64_t qv_scratch_floats(const Call* call, int32_t coarse, int32_t backward) {
  return scratch_floats(*call, coarse != 0, backward != 0);
}
QV_EXPORT void qv_coarse_forward(const Call* call) { run(*call, true, false); }
QV_EXPORT void qv_coarse_backward(const Call* call) { run(*call, true, true); }
QV_EXPORT void qv_fine_forward(const Call* call) { run(*call, false, false); }
QV_EXPORT void qv_fine_backward(const Call* call) { run(*call, false, true); }
QV_EXPORT int64_t qv_tree_floats(const TreeCall* call) {
  return tree_threads(*call) * kernels().tree_floats(*call);
}
QV_EXPORT void qv_pyramid(const TreeCall* call, float* scratch) { run_tree(*call, false, scratch); }
QV_EXPORT void qv_merge(const TreeCall* call, float* scratch) { run_tree(*call, true, scratch); }
