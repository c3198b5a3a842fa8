"""What whole networks cost with one attention or another in them: the presets `small` of matching and stereo."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from eval.cost import (
    MATERIALISED,
    AttentionCase,
    Contender,
    CostRow,
    Grid,
    measured,
    parameters_of,
    step_of,
    too_large,
    with_score_matrix,
)
from matching.config import SMALL, MatcherConfig
from matching.model import STRIDE, build_matcher


class _CoarseHalf(nn.Module):
    """A matcher up to its coarse tokens, which is what a training step differentiates through."""

    def __init__(self, matcher: Any) -> None:
        super().__init__()
        self.matcher = matcher

    def forward(self, image0: Tensor, image1: Tensor) -> Tensor:
        features0, features1 = self.matcher.extract(image0), self.matcher.extract(image1)
        tokens0, tokens1 = self.matcher.coarse_tokens(features0, features1)
        fine: Tensor = features0.fine.sum() + features1.fine.sum()
        return tokens0.sum() + tokens1.sum() + fine


class _Assignment(nn.Module):
    """A stereo network up to what its losses look at."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        steps = self.network.steps(left, right)
        total: Tensor = steps.assignment.sum() + sum(d.sum() for d in steps.refinement.disparity)
        return total


def network_rows(
    what: str, case: AttentionCase, grids: Sequence[Grid], pass_name: str, seconds: float
) -> Iterator[CostRow]:
    """Costs of the whole network for every attention at every size.

    Args:
        what: "matcher" or "stereo".
        case: names, dtype, device, batch and limit count; channels, heads and top-K are the preset's.
        grids: coarse tokens of one image; rounded up to what the network takes.
        pass_name: "forward", with everything, or "training", without the last, sparse stage of the matcher.
        seconds: for which the contenders of a size take turns.
    """
    build, channels, stride = _FAMILIES[what]
    for grid in grids:
        network, heads = build("quadtree")
        multiple = int(getattr(network, "size_multiple", stride))
        H, W = (math.ceil(side * stride / multiple) * multiple for side in grid)
        tokens = (H // stride) * (W // stride)
        keys = tokens if what == "matcher" else W // stride
        images = [
            torch.rand(case.batch, channels, H, W, generator=torch.Generator().manual_seed(n))
            for n in range(2)
        ]
        contenders = []
        for name in case.names:
            why = too_large(case, name, heads * tokens * keys, pass_name)
            if why is not None:
                yield CostRow(name, pass_name, tokens, not_run=why)
            else:
                contenders.append(_contender(what, name, case, images, pass_name))
        yield from measured(contenders, pass_name, tokens, seconds, case.device)


def coarse_costs(
    configs: Mapping[str, MatcherConfig], size: tuple[int, int], device: str, seconds: float = 4.0
) -> list[CostRow]:
    """Costs of the trunk and the two-view transformer of matchers on one pair of images.

    Args:
        configs: settings of the matchers by name.
        size: H, W of both images; rounded up to what each matcher takes.
        device: where to measure.
        seconds: for which they take turns.
    """
    contenders = []
    for name, config in configs.items():
        torch.manual_seed(0)
        matcher = build_matcher(config).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        sides = [math.ceil(side / matcher.size_multiple) * matcher.size_multiple for side in size]
        images = tuple(torch.rand(1, 1, *sides, device=device) for _ in range(2))
        step = step_of(_CoarseHalf(matcher).eval(), images, "forward")
        contenders.append(Contender(name, step, parameters_of(matcher)))
    tokens = math.prod(size) // STRIDE**2
    return list(measured(contenders, "forward", tokens, seconds, device))


def _contender(
    what: str, name: str, case: AttentionCase, images: Sequence[Tensor], pass_name: str
) -> Contender:
    network, _ = _FAMILIES[what][0](name)
    network = network.to(case.device, case.dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train(pass_name == "training")
    parameters = parameters_of(network)
    if pass_name == "training":
        network = _CoarseHalf(network) if what == "matcher" else _Assignment(network)
    inputs = tuple(image.to(case.device, case.dtype) for image in images)
    step = step_of(network, inputs, pass_name)
    if name == MATERIALISED:
        step = with_score_matrix(step)
    return Contender(name, step, parameters)


def _matcher(name: str) -> tuple[nn.Module, int]:
    """The matcher `small` with that attention, and its heads."""
    known: Any = "softmax" if name == MATERIALISED else name
    torch.manual_seed(0)
    config = replace(SMALL, coarse=replace(SMALL.coarse, attention=known))
    return build_matcher(config), config.coarse.heads


def _stereo(name: str) -> tuple[nn.Module, int]:
    """The stereo network `small` with that attention along rows, and its heads."""
    from stereo.config import PRESETS
    from stereo.model import build_stereo

    small = PRESETS["small"]
    known: Any = f"row_{'softmax' if name == MATERIALISED else name}"
    torch.manual_seed(0)
    config = replace(small, rows=replace(small.rows, attention=known))
    return build_stereo(config), config.rows.heads


Build = Callable[[str], tuple[nn.Module, int]]
# how it is built, channels of its images, pixels of a token
_FAMILIES: dict[str, tuple[Build, int, int]] = {
    "matcher": (_matcher, 1, 8),
    "stereo": (_stereo, 3, 4),
}
