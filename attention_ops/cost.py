"""What a call costs: FLOPs by formula, peak memory by the profiler's memory events.

FLOPs are 2 per multiply-add of the matrix products that the maths needs; softmax, exp, top-K,
norms and pooling are not counted. A backward pass counts its own five products (probabilities,
their gradient, and the gradients of query, key and value), the first of which every fused
kernel computes again instead of keeping. A bilinear sample is CORNERS multiply-adds a channel, and
twice that in its backward pass (the gradients of the map and of the position).
"""

import gc
import math
import os
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from attention_ops._library import BACKWARD_PRODUCTS, FORWARD_PRODUCTS

CORNERS = 4  # multiply-adds of a bilinear sample

_aten = torch.ops.aten


def flops(fn: Callable[..., Any], *args: Any) -> int:
    """FLOPs of `fn(*args)`, and of its backward pass if it runs one."""
    with FlopCounterMode(display=False, custom_mapping=_UNCOUNTED) as counter:
        fn(*args)
    return int(counter.get_total_flops())


def peak_memory(fn: Callable[..., Any], *args: Any) -> int:
    """Bytes that `fn(*args)` held at its peak on top of what was there, buffers in ops included.

    On CUDA from the allocator's own statistics, on CPU as the running sum of memory events.
    """
    gc.collect()
    if any(isinstance(x, torch.Tensor) and x.is_cuda for x in args):
        return _peak_on_cuda(fn, *args)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler prints lines of its own
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        result = fn(*args)
    del result
    events = record.profiler.kineto_results.events()
    changes = sorted(
        ((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"),
        key=lambda change: change[0],
    )
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def _peak_on_cuda(fn: Callable[..., Any], *args: Any) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = fn(*args)
    torch.cuda.synchronize()
    del result
    return torch.cuda.max_memory_allocated() - before


def _sdpa_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _sdpa_backward_flops(
    _grad: Any, query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any
) -> int:
    return int(sdpa_flop_count(query, key, value)) * BACKWARD_PRODUCTS // FORWARD_PRODUCTS


def _sample_flops(*_: Any, out_shape: torch.Size, **__: Any) -> int:
    return 2 * CORNERS * math.prod(out_shape)


def _sample_backward_flops(grad: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * 2 * CORNERS * math.prod(grad)


# torch 2.13 counts 0 for scaled_dot_product_attention on CPU (pytorch #195460) and for sampling.
_UNCOUNTED: dict[Any, Any] = {
    _aten.grid_sampler_2d: _sample_flops,
    _aten.grid_sampler_2d_backward: _sample_backward_flops,
    _aten._scaled_dot_product_flash_attention_for_cpu: _sdpa_flops,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _sdpa_backward_flops,
}
