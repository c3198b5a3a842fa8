"""`python -m matching soak`: matches pairs of many sizes in one process and watches its memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    import numpy as np

SIZES = ((160, 208), (176, 176), (147, 231), (240, 130), (96, 320))  # height, width in px
STATUS = Path("/proc/self/statm")  # Linux


@dataclass(frozen=True)
class SoakCommand:
    """Match many made-up pairs in one process; fails where resident memory grows after the warm-up.

    Args:
        pairs: How many.
        warm_up: Pairs before memory is first looked at.
        limit: Growth in percent that is still called flat.
        weights: Name of shipped weights, or a checkpoint file.
        device: cpu, cuda or cuda:N.
    """

    pairs: int = 2000
    warm_up: int = 200
    limit: float = 2.0
    weights: str = "small"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not 0 < self.warm_up < self.pairs:
            raise ValueError(
                f"--warm-up must be 1 or more and below --pairs, got {self.warm_up} and {self.pairs}"
            )


def parse(argv: Sequence[str]) -> SoakCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(SoakCommand, args=argv, prog="python -m matching soak")


def run(command: SoakCommand) -> str:
    """Matches and watches; returns the line to print.

    Raises:
        ValueError: memory grew by more than the limit, or the system does not tell it.
    """
    import numpy as np
    from tqdm import tqdm

    from matching.predictor import load_predictor

    if not STATUS.is_file():
        raise ValueError(f"wanted {STATUS}, which says how much memory is in use; run it on Linux")
    predictor = load_predictor(command.weights, device=command.device)
    generator = np.random.default_rng(0)
    used: list[int] = []
    matches = 0
    for number in tqdm(range(command.pairs), unit="pair"):
        matches += len(predictor.match(*made_up_pair(generator, SIZES[number % len(SIZES)])))
        if number >= command.warm_up:
            used.append(resident_bytes())
    growth = growth_percent(used)
    said = (
        f"{command.pairs} pairs, {matches} matches, resident memory {used[0] / 2**20:.0f} MiB after the "
        f"warm-up, {used[-1] / 2**20:.0f} MiB at the end, growth {growth:.2f} %"
    )
    if growth > command.limit:
        raise ValueError(f"wanted growth of at most {command.limit} %: {said}")
    return said


def made_up_pair(
    generator: "np.random.Generator", size: tuple[int, int]
) -> "tuple[np.ndarray, np.ndarray]":
    """Two overlapping cuts (H, W) uint8 of one random texture."""
    import cv2
    import numpy as np

    H, W = size
    grains = generator.integers(0, 256, (H // 6, W // 6), dtype=np.uint8)
    scene = cv2.resize(grains, (W + 24, H + 16), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(scene[:H, :W]), np.ascontiguousarray(scene[16:, 24:])


def resident_bytes() -> int:
    """Memory of this process that is in use, in bytes."""
    import os

    return int(STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth_percent(used: Sequence[int]) -> float:
    """Median of the last tenth over that of the first tenth, less one, in percent: free of single peaks."""
    import numpy as np

    part = max(1, len(used) // 10)
    first, last = np.median(used[:part]), np.median(used[-part:])
    return float(100 * (last / first - 1))
