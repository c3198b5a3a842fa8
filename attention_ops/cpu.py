"""What this processor does in hardware.

oneDNN calls bfloat16 "supported" wherever it can emulate it; emulated convolutions ran four times
slower than float32 on a processor with AVX-512 but without its bfloat16 instructions.
"""

from functools import cache
from pathlib import Path

import torch


@cache
def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 numbers itself (AVX512-BF16, AMX or Arm BF16)."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:  # not Linux: ask torch, which knows x86 only
        return bool(torch.cpu._is_avx512_bf16_supported())
    return not words.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})
