"""What stereo networks cost on this machine: `python -m stereo bench`, some minutes.

Wall time with as many threads as torch takes, networks taking turns; fresh weights, since none of this
depends on them. FLOPs are those of matrix products, memory is the peak of what a call holds.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from attention_ops.command import count
from attention_ops.cost import flops, peak_memory
from stereo.bench_sttr import print_sttr_cost, print_whole_cost
from stereo.config import PRESETS, StereoConfig
from stereo.model import StereoNetwork, build_stereo

DEMO = (512, 752)  # H, W of the demo's 500 x 741, padded
SCENEFLOW = (544, 960)
STRIP = (24, 960)  # explicit attention over the whole height takes some 30 GB in training
CONFIGS: dict[str, StereoConfig] = {
    "small": PRESETS["small"],
    "small, full rows": replace(
        PRESETS["small"], rows=replace(PRESETS["small"].rows, attention="row_softmax")
    ),
    "sttr_light": PRESETS["sttr_light"],
    "sttr": PRESETS["sttr"],
}


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m stereo bench", description=__doc__)
    parser.add_argument("--repeats", type=count, default=3, help="turns of each network")
    parser.add_argument("--only", nargs="+", default=list(CONFIGS), choices=CONFIGS)
    parser.add_argument(
        "--sttr-cost",
        action="store_true",
        help="instead, FLOPs and memory of STTR with QuadTree attention in its transformer",
    )
    parser.add_argument(
        "--rows", type=count, default=132, help="of pixels for --sttr-cost of the whole network"
    )
    parser.add_argument(
        "--forward-only", action="store_true", help="--sttr-cost without training: 540 rows fit"
    )
    arguments = parser.parse_args(argv)
    if arguments.sttr_cost:
        print_sttr_cost(_say, STRIP)
        for training in (False,) if arguments.forward_only else (False, True):
            print_whole_cost(_say, (arguments.rows, STRIP[1]), training)
        return 0
    networks = {name: build_stereo(CONFIGS[name]).eval() for name in arguments.only}
    for network in networks.values():
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for size in (DEMO, SCENEFLOW):
        _say(f"\n{size[1]} x {size[0]} pixels, {torch.get_num_threads()} threads, float32")
        _print_inference(networks, size, arguments.repeats)
    _say(f"\ntraining step of one pair, {SCENEFLOW[1]} x {SCENEFLOW[0]} pixels")
    for name, network in networks.items():
        if isinstance(network, StereoNetwork):
            _print_training(name, network.train(), SCENEFLOW)
    return 0


def _print_inference(networks: dict[str, nn.Module], size: tuple[int, int], repeats: int) -> None:
    left, right = torch.rand(2, 1, 3, *size).unbind(0)
    with torch.inference_mode():
        seconds = wall_times(networks, left, right, repeats)
        for name, network in networks.items():
            _say(
                f"  {name:18s}{seconds[name]:8.2f} s {flops(network, left, right) / 1e9:8.3g} GFLOP "
                f"{peak_memory(network, left, right) / 1e6:8.0f} MB at the peak"
            )


def wall_times(
    networks: dict[str, nn.Module], left: Tensor, right: Tensor, repeats: int
) -> dict[str, float]:
    """Least wall seconds of each network over `repeats` turns."""
    best = dict.fromkeys(networks, float("inf"))
    for _ in range(repeats):
        for name, network in networks.items():
            start = time.perf_counter()
            network(left, right)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def _print_training(name: str, network: StereoNetwork, size: tuple[int, int]) -> None:
    left, right = torch.rand(2, 1, 3, *size).unbind(0)

    def step() -> None:
        network.steps(left, right).refinement.disparity[-1].sum().backward()

    count, memory = flops(step), peak_memory(step)
    _say(f"  {name:18s}{count / 1e9:8.3g} GFLOP {memory / 1e6:8.0f} MB at the peak")


def _say(line: str) -> None:
    """Prints at once: a run takes minutes."""
    print(line, flush=True)  # noqa: T201
