"""`python -m eval.scaling`: what matching a collection of N images costs, from two measured rates.

The stages are those of `python -m matching batch --engine ray`: features of every image, the pairs, and the
files that are read and written meanwhile. Nothing is run; the rates come from the user, who measured them.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from data_scripts.command_line import run_command
from matching.config import PRESETS
from matching.model import FINE_STRIDE, STRIDE
from matching.pair_lists import TILE

BYTES_PER_MATCH = 20  # two points and a confidence in float32, see `matching.shards`
FLOAT = 4  # bytes; in bfloat16 half
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Arguments:
    """Cost of matching a collection, as a table of devices.

    Args:
        pairs_per_second: Of one device, its features at hand.
        images_per_second: Of one device: reading an image and making its features.
        images: N.
        retrieve: K of --retrieve, which gives at most N K pairs; 0: all N (N - 1) / 2 pairs.
        matches: Mean number of a pair.
        height: Of what the network sees, px.
        width: The same.
        disk_mb_per_second: What the disk that all share reads; a new NVMe or 25 Gbit/s gives about 3000.
        devices: Numbers of devices, a column each.
    """

    pairs_per_second: float
    images_per_second: float
    images: int = 10_000
    retrieve: int = 0
    matches: int = 1500
    height: int = 608
    width: int = 800
    disk_mb_per_second: float = 3000.0
    devices: tuple[int, ...] = (1, 8, 64)

    def __post_init__(self) -> None:
        for name in ("pairs_per_second", "images_per_second", "disk_mb_per_second"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.images < 2 or self.retrieve < 0 or self.matches < 0:
            raise ValueError("images must be 2 or more, retrieve and matches 0 or more")
        if not self.devices or min(self.devices) < 1:
            raise ValueError(f"devices must be 1 or more, got {self.devices}")


@dataclass(frozen=True)
class Cost:
    """What one collection costs on some devices; hours of each stage if it stood alone."""

    devices: int
    pairs: int
    feature_hours: float  # at worst: see `cost`
    pair_hours: float
    read_hours: float  # features coming back from the disk that all share
    write_hours: float  # shards
    result_gb: float
    feature_gb: float

    @property
    def hours(self) -> float:
        """From start to end: reading and writing go on beside the pairs, features before them."""
        beside = max(self.pair_hours, self.read_hours + self.write_hours)
        return self.feature_hours + beside

    @property
    def bottleneck(self) -> str:
        """The stage that takes longest."""
        stages = {
            "features": self.feature_hours,
            "pairs": self.pair_hours,
            "disk": self.read_hours + self.write_hours,
        }
        return max(stages, key=lambda name: stages[name])


def pair_count(images: int, retrieve: int) -> int:
    """Pairs of a collection: all, or at most `retrieve` for each image."""
    every = images * (images - 1) // 2
    return min(images * retrieve, every) if retrieve else every


def feature_bytes(height: int, width: int) -> int:
    """Of one image of these sides as `small` keeps it in float32: both maps and the grey image."""
    small = PRESETS["small"]
    coarse = small.coarse.channels * (height // STRIDE) * (width // STRIDE)
    fine = small.trunk.fine_channels * (height // FINE_STRIDE) * (width // FINE_STRIDE)
    return FLOAT * (coarse + fine + height * width)


def loads_per_pair(retrieve: int) -> float:
    """Images read back from disk for each pair where memory holds one tile of images.

    Exhaustive pairs go in tiles of TILE x TILE pairs, which take 2 TILE images. Retrieved pairs are sorted
    by their first image, which stays; the second is another one each time.
    """
    return 1.0 if retrieve else 2 / TILE


def cost(arguments: Arguments, devices: int) -> Cost:
    """What the collection of `arguments` costs on so many devices.

    Features do not divide among devices: with --retrieve the machine that gives out the work makes them all,
    for the descriptors; without, every device makes those that it meets and does not find on disk, at worst
    all, which takes it as long.
    """
    pairs = pair_count(arguments.images, arguments.retrieve)
    each = feature_bytes(arguments.height, arguments.width)
    read_mb = pairs * loads_per_pair(arguments.retrieve) * each / 1e6
    result_bytes = pairs * arguments.matches * BYTES_PER_MATCH
    disk = arguments.disk_mb_per_second * SECONDS_PER_HOUR
    return Cost(
        devices=devices,
        pairs=pairs,
        feature_hours=arguments.images / arguments.images_per_second / SECONDS_PER_HOUR,
        pair_hours=pairs / arguments.pairs_per_second / devices / SECONDS_PER_HOUR,
        read_hours=read_mb / disk,
        write_hours=result_bytes / 1e6 / disk,
        result_gb=result_bytes / 1e9,
        feature_gb=arguments.images * each / 1e9,
    )


def table(costs: Sequence[Cost]) -> str:
    """The costs as a Markdown table, a row for each number of devices."""
    lines = [
        "| devices | pairs | features h | pairs h | disk h | all h | slowest |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in costs:
        disk = one.read_hours + one.write_hours
        hours = (one.feature_hours, one.pair_hours, disk, one.hours)
        told = " | ".join(f"{value:,.2f}" if value < 10 else f"{value:,.0f}" for value in hours)
        lines.append(f"| {one.devices} | {one.pairs:,} | {told} | {one.bottleneck} |")
    one = costs[0]
    lines += ["", f"features {one.feature_gb:,.0f} GB, matches {one.result_gb:,.0f} GB"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; 0, or 2 where a number is wrong."""
    return run_command("error", lambda: _show(argv), (ValueError,))


def _show(argv: Sequence[str] | None) -> None:
    arguments = tyro.cli(Arguments, prog="python -m eval.scaling", args=argv)
    sys.stdout.write(table([cost(arguments, devices) for devices in arguments.devices]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
