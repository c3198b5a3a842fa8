"""Which settings of which kernel are compiled ahead of time: what `triton_backend` would launch.

Channels 16 to 128, fan-outs 2 and 4, both variants, with and without a mask, at the published
numbers of parents and tokens; and some sizes that have to be padded.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from attention_ops import sampling_triton
from attention_ops.triton_kernels import (
    chosen_bits,
    coarse_backward,
    coarse_forward,
    fine_backward,
    fine_backward_by_key,
    fine_forward,
    sampling,
)

CHANNELS = (16, 32, 64, 128)
HEADS = 8
LEVELS = POINTS = 4  # of deformable attention
PARENTS = ((8, 0), (16, 8), (32, 16))  # K and top-K of a fine level
QUERIES = ((300, 32), (1296, 16), (1296, 0), (5184, 16))  # L and top-K of a coarse level
NO_SCORES = frozenset({"parent_score", "score", "grad_score", "grad_parent_score"})


@dataclass(frozen=True)
class Case:
    """A kernel with its compile-time constants and launch options, and arguments left out."""

    name: str
    kernel: Any
    settings: dict[str, Any]
    absent: frozenset[str]

    @property
    def channels(self) -> int:
        """D; 0 for a kernel that reads no rows."""
        return int(self.settings.get("D", 0))


def all_cases(size: int) -> Iterator[Case]:
    """All that are compiled, for elements of `size` bytes."""
    for D, F, variant, masked in itertools.product(CHANNELS, (4, 2), "AB", (True, False)):
        for K, topk in PARENTS:
            yield fine_forward_case(F, D, K, topk, variant, size, masked=masked)
        yield from fine_backward_cases(F, D, 16, 8, variant, size, masked=masked)
    for D, variant, masked in itertools.product(CHANNELS, "AB", (True, False)):
        for L, topk in QUERIES:
            yield coarse_forward_case(L, D, topk, variant, size, masked=masked)
        yield from coarse_backward_cases(D, 16, variant, size, masked=masked)
    for variant in "AB":
        for F, D, K, topk in ((4, 40, 16, 8), (2, 32, 13, 5)):
            yield fine_forward_case(F, D, K, topk, variant, size)
            yield from fine_backward_cases(F, D, K, topk, variant, size)
        yield coarse_forward_case(1296, 40, 16, variant, size)
        yield from coarse_backward_cases(40, 16, variant, size)
    yield Case("chosen_bits", chosen_bits.chosen_bits, chosen_bits.settings(16), frozenset())
    for D in CHANNELS:
        yield from sampling_cases(D)


def fine_forward_case(
    F: int, D: int, K: int, topk: int, variant: str, size: int, *, masked: bool = True
) -> Case:
    """Forward of a fine level."""
    settings = fine_forward.settings(F, D, K, topk, size)
    name = f"fine_forward F{F} D{D} K{K} top{topk} {_ending(variant, masked)}"
    return Case(name, fine_forward.fine_forward, settings, _fine_absent(variant, masked))


def fine_backward_cases(
    F: int, D: int, K: int, topk: int, variant: str, size: int, *, masked: bool = True
) -> Iterator[Case]:
    """Backward of a fine level: with atomic sums; with lists, which takes two kernels."""
    label = f"F{F} D{D} K{K} top{topk} {_ending(variant, masked)}"
    absent = _fine_absent(variant, masked)
    kernel, settings = fine_backward.fine_backward, fine_backward.settings(F, D, K, topk, size)
    yield Case(f"fine_backward {label}", kernel, settings, absent | {"delta"})
    sums = {"grad_key_sum", "grad_value_sum"} | ({"delta"} if variant == "A" else set())
    yield Case(f"fine_backward lists {label}", kernel, settings, absent | sums)
    kernel = fine_backward_by_key.fine_backward_by_key
    settings = fine_backward_by_key.settings(F, D, K, topk)
    yield Case(f"fine_backward_by_key {label}", kernel, settings, absent)


def coarse_forward_case(
    L: int, D: int, topk: int, variant: str, size: int, *, masked: bool = True
) -> Case:
    """Forward of a coarse level."""
    settings = coarse_forward.settings(L, D, topk, HEADS, size) | {"A": variant == "A"}
    absent = _mask_absent(masked) | (frozenset() if variant == "A" else {"score"})
    name = f"coarse_forward L{L} D{D} top{topk} {_ending(variant, masked)}"
    return Case(name, coarse_forward.coarse_forward, settings, absent)


def coarse_backward_cases(
    D: int, topk: int, variant: str, size: int, *, masked: bool = True
) -> Iterator[Case]:
    """Backward of a coarse level: for the queries, and for keys and values."""
    label = f"D{D} top{topk} {_ending(variant, masked)}"
    chosen = variant == "A" and topk
    absent = _mask_absent(masked) | (frozenset() if chosen else {"bits", "before"})
    settings = coarse_backward.settings(D, topk, size)
    yield Case(f"coarse_backward {label}", coarse_backward.coarse_backward, settings, absent)
    settings = coarse_backward.settings_by_key(D, topk, size)
    kernel = coarse_backward.coarse_backward_by_key
    yield Case(f"coarse_backward_by_key {label}", kernel, settings, absent)


def sampling_cases(D: int) -> Iterator[Case]:
    """Sampling of four maps: forward, and backward with atomic sums and with lists."""
    constants = {"M": HEADS, "K": POINTS, **sampling_triton.settings(D)}
    yield Case(f"sample_forward D{D}", sampling.sample_forward, constants, frozenset())
    for in_lists in (False, True):
        name = f"sample_backward {'lists ' if in_lists else ''}D{D}"
        settings = constants | {"LISTS": in_lists}
        yield Case(name, sampling.sample_backward, settings, frozenset())
    settings = sampling_triton.list_settings(D)
    yield Case(f"sum_lists D{D}", sampling.sum_lists, settings, frozenset())


def _ending(variant: str, masked: bool) -> str:
    return variant if masked else f"{variant} unmasked"


def _mask_absent(masked: bool) -> frozenset[str]:
    return frozenset() if masked else frozenset({"key_mask"})


def _fine_absent(variant: str, masked: bool) -> frozenset[str]:
    return _mask_absent(masked) | (NO_SCORES if variant == "B" else frozenset())
