"""A round of propagation as one compiled loop for CPUs: what `stereo.propagation` writes in torch's operators.

Row by row, with the sums of the last few rows kept: nothing of the size of the image is made but the answer.
Blocks of rows go through as many threads as torch may use, and do not depend on how they are cut.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data_scripts.compiled_loop import compiled, in_blocks
from stereo.photometric import COLOUR_LIMIT, COLOUR_WEIGHT, GRADIENT_LIMIT

LEAST_ROWS = 32  # of a block; a window above and below is worked out twice


def plain(tensor: Tensor) -> bool:
    """Whether it is numbers in float32 in the memory of the CPU, of which nobody wants gradients."""
    real = type(tensor) is Tensor and tensor.device.type == "cpu"  # a subclass may hold no numbers
    wanted = torch.is_grad_enabled() and tensor.requires_grad
    return real and tensor.dtype is torch.float32 and not wanted


def one_round(
    left: Tensor,
    right: Tensor,
    disp: Tensor,
    steps: tuple[tuple[int, int], ...],
    window: int,
    gain: float,
    apart: float,
) -> Tensor:
    """Disparities (B, 1, H, W), each pixel's own or that of the neighbour that explains it best.

    Args:
        left: (B, 5, H, W) as `photometric.seen` gives it, `plain`.
        right: the same.
        disp: (B, 1, H, W) px, `plain`.
        steps: rows down and columns right of the neighbours, in the order in which they are tried.
        window: px a side over which differences are summed.
        gain: by which the mean difference must be less.
        apart: px; a neighbour's disparity nearer than this decides nothing.
    """
    B, H = left.shape[0], left.shape[2]
    left_cells = left.contiguous().numpy()
    right_cells = F.pad(right.contiguous(), (0, 1, 0, 0), mode="replicate").numpy()
    start = disp[:, 0].contiguous().numpy()
    best = np.empty_like(start)
    moves = np.array(((0, 0), *steps))
    setting = window // 2, np.float32(gain), np.float32(apart)

    def work(block: tuple[int, int], b: int) -> None:
        _rows(moves, setting, left_cells[b], right_cells[b], start[b], block, best[b])

    for b in range(B):
        in_blocks(partial(work, b=b), H, LEAST_ROWS)
    return torch.from_numpy(best)[:, None]


@compiled()
def _rows(
    moves: np.ndarray,
    setting: tuple[int, np.float32, np.float32],
    left: np.ndarray,
    right: np.ndarray,
    start: np.ndarray,
    block: tuple[int, int],
    best: np.ndarray,
) -> None:
    """Fills the rows block = (first, past the last) of best (H, W); setting: half a window, gain, apart."""
    half, gain, apart = setting
    first, last = block
    H, W = start.shape
    window = 2 * half + 1
    across = np.zeros((window, len(moves), W), np.float32)  # row y stands at y % window
    line = np.zeros(W + 2 * half, np.float32)  # differences of a row, zeros beyond its ends
    for y in range(max(0, first - half), last + half):
        for number in range(len(moves)):
            if y < H:
                tried = _moved(start, y, moves[number])
                _differences(left[:, y], right[:, y], tried, line[half:])
            else:
                for x in range(W):
                    line[half + x] = 0
            here = across[y % window, number]
            for x in range(W):
                here[x] = line[x]
            for place in range(1, window):
                for x in range(W):
                    here[x] += line[x + place]
        middle = y - half
        if middle >= first:
            rows = min(middle + half, H - 1) - max(middle - half, 0) + 1
            _decide(across, start, middle, moves, (half, gain * np.float32(rows), apart), best)


@compiled()
def _decide(
    across: np.ndarray,
    start: np.ndarray,
    y: int,
    moves: np.ndarray,
    setting: tuple[int, np.float32, np.float32],
    best: np.ndarray,
) -> None:
    """Fills the row y of best: its own disparities, then each move's where the sums say so."""
    half, gain, apart = setting
    window, _, W = across.shape
    least, total = np.empty(W, np.float32), np.empty(W, np.float32)
    for number in range(len(moves)):
        for x in range(W):
            total[x] = across[0, number, x]
        for row in range(1, window):
            for x in range(W):
                total[x] += across[row, number, x]
        tried = _moved(start, y, moves[number])
        for x in range(W):
            if number == 0:
                columns = min(x + half, W - 1) - max(x - half, 0) + 1
                least[x] = total[x] - gain * np.float32(columns)
                best[y, x] = tried[x]
            elif total[x] < least[x] and abs(tried[x] - best[y, x]) > apart:
                least[x] = total[x]
                best[y, x] = tried[x]


@compiled()
def _moved(disp: np.ndarray, y: int, move: np.ndarray) -> np.ndarray:
    """The row of disp (H, W) that lies move = (down, right) from row y; edges are repeated."""
    H, W = disp.shape
    row = disp[min(max(y + move[0], 0), H - 1)]
    found = np.empty(W, np.float32)
    for x in range(W):
        found[x] = row[min(max(x + move[1], 0), W - 1)]
    return found


@compiled()
def _differences(left: np.ndarray, right: np.ndarray, disp: np.ndarray, found: np.ndarray) -> None:
    """`photometric.difference` of a row of left (5, W) and right (5, W + 1), its last column twice."""
    W = len(disp)
    near, share = np.empty(W, np.uint32), np.empty(W, np.float32)
    end = np.float32(W - 1)
    for x in range(W):
        place = np.float32(x) - disp[x]
        place = place if place > np.float32(0) else np.float32(0)  # NaN too: it becomes an index
        place = place if place < end else end
        near[x] = np.uint32(place)
        share[x] = place - np.float32(near[x])
    for x in range(W):
        colour = np.float32(0)
        gradient = np.float32(0)
        for channel in range(5):
            there = right[channel, near[x]]
            there += share[x] * (right[channel, near[x] + np.uint32(1)] - there)
            if channel < 3:
                colour += abs(left[channel, x] - there)
            else:
                gradient += abs(left[channel, x] - there)
        colour /= np.float32(3)
        colour = colour if colour < COLOUR_LIMIT else np.float32(COLOUR_LIMIT)
        gradient = gradient if gradient < GRADIENT_LIMIT else np.float32(GRADIENT_LIMIT)
        found[x] = np.float32(COLOUR_WEIGHT) * colour + gradient
