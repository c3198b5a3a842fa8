"""Disparities taken over from neighbours where they explain the two images better.

The network's answer is sharp to about a cell of 4 px; along depth edges the pixels of a cell belong to
either side. As in PatchMatch stereo (Bleyer, Rhemann and Rother, BMVC 2011, sec. 3.3) each pixel tries the
disparities of pixels near it and keeps the one with the least difference of colour and gradient (eq. 3)
over a small window; a median takes out what single pixels chose alone. No parameters are learned; nothing
but the two images and the disparity comes in.
"""

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from stereo.photometric import difference, seen
from stereo.propagation_loop import one_round, plain

REACH_PX = (2, 5, 10)  # how far away the neighbours lie, each way
MOVES = tuple(
    move for reach in REACH_PX for step in (reach, -reach) for move in ((0, step), (step, 0))
)  # rows down and columns right
WINDOW = 5  # px a side over which differences are averaged
MEDIANS = 2  # of 3 x 3 px at the end
GAIN = 0.5 / 255  # a neighbour's disparity must be better by this
STEP_PX = 0.5  # disparities nearer than this are the same surface: nothing to decide


def propagated(left: Tensor, right: Tensor, disp: Tensor, rounds: int = 2) -> Tensor:
    """Disparity (B, H, W) in px of the left image, each pixel with its own or a neighbour's value.

    Args:
        left: (B, 3, H, W) RGB in [0, 1].
        right: (B, 3, H, W).
        disp: (B, H, W) px, finite.
        rounds: times that values travel; 0 gives disp.
    """
    wide = torch.promote_types(disp.dtype, torch.float32)
    left_seen, right_seen = seen(left.to(wide)), seen(right.to(wide))
    best = disp.to(wide)[:, None]
    looped = not torch.compiler.is_compiling() and all(map(plain, (left_seen, right_seen, best)))
    for _ in range(rounds):
        if looped:
            best = one_round(left_seen, right_seen, best, MOVES, WINDOW, GAIN, STEP_PX)
        else:
            best = round_of_operators(left_seen, right_seen, best)
    for _ in range(MEDIANS if rounds else 0):
        best = _median(best)
    return best[:, 0].to(disp.dtype)


def round_of_operators(left: Tensor, right: Tensor, start: Tensor) -> Tensor:
    """`one_round` in torch's operators, for any device and dtype, and for tracing."""
    best = start
    least = _difference(left, right, best) - GAIN * _window_sizes(best)
    for move in MOVES:
        neighbour = _moved(start, *move)
        cost = _difference(left, right, neighbour)
        better = (cost < least) & ((neighbour - best).abs() > STEP_PX)
        least = torch.where(better, cost, least)
        best = torch.where(better, neighbour, best)
    return best


def _difference(left: Tensor, right: Tensor, disp: Tensor) -> Tensor:
    """Sum of `difference` over that part of each window that lies in the image, (B, 1, H, W)."""
    return _sums(difference(left, right, disp))


def _window_sizes(disp: Tensor) -> Tensor:
    """Pixels of the image in the window round each pixel, (1, 1, H, W)."""
    return _sums(torch.ones_like(disp[:1]))


def _sums(values: Tensor) -> Tensor:
    """Sums of values (B, 1, H, W) over the windows, zeros outside.

    Sums of slices take a fifth of the time of torch's pooling on a CPU.
    """
    H, W = values.shape[-2:]
    half = WINDOW // 2
    padded = F.pad(values, (half, half, half, half))
    across = reduce(torch.add, (padded[..., start : start + W] for start in range(WINDOW)))
    return reduce(torch.add, (across[:, :, start : start + H] for start in range(WINDOW)))


def _moved(disp: Tensor, down: int, right: int) -> Tensor:
    """The map (B, 1, H, W) with the value so far down and right at each pixel; edges are repeated."""
    H, W = disp.shape[-2:]
    if right:
        return disp[..., (torch.arange(W, device=disp.device) + right).clamp(0, W - 1)]
    return disp[:, :, (torch.arange(H, device=disp.device) + down).clamp(0, H - 1)]


def _median(disp: Tensor) -> Tensor:
    """Median of the 3 x 3 pixels round each of disp (B, 1, H, W); edges are repeated.

    With the columns sorted, it is the median of the largest low, the middle middle and the lowest high.
    """
    H, W = disp.shape[-2:]
    padded = F.pad(disp, (1, 1, 1, 1), mode="replicate")
    low, middle, high = _sorted(*(padded[:, :, start : start + H] for start in range(3)))

    def beside(rows: Tensor) -> tuple[Tensor, ...]:
        return tuple(rows[..., start : start + W] for start in range(3))

    lowest = _sorted(*beside(low))[2]
    middlest = _sorted(*beside(middle))[1]
    highest = _sorted(*beside(high))[0]
    return _sorted(lowest, middlest, highest)[1]


def _sorted(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three maps, the lowest value of each place first."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return (
        torch.minimum(low, c),
        torch.maximum(low, torch.minimum(high, c)),
        torch.maximum(high, c),
    )
