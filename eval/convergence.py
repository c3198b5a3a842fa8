"""How fast point decoders learn, by the attention in them: one budget, the same pairs, the same order.

The decoders find their first reference point themselves, from the query alone, as DETR's successors do: with
the peak of a correlation as the start there would be little left for cross-attention to learn. Where
attention has keys, it starts by comparing what queries and cells show (`PointConfig.alike`). The
matcher's features of a fixed set of synthetic pairs are made once, so that steps are cheap.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from data_scripts.train_state import TrainState
from matching.data import PairBatches, PairSettings
from matching.model import Matcher
from matching.point_config import PointConfig
from matching.point_data import PointBatches, PointPairs
from matching.point_decoder import Decoded, PairMaps, PointDecoder
from matching.point_losses import point_loss
from matching.point_maps import side_maps

TRAINING_SEED, VALIDATION_SEED = 31, 977
BATCH = 8  # pairs made at once
WEIGHT_DECAY, CLIP, AVERAGE = 1e-4, 1.0, 0.98
LAST = 3  # validations whose mean is the accuracy at the end
LIMITS_PX = (4.0, 8.0)  # half a coarse cell, and one


@dataclass(frozen=True)
class Budget:
    """What every decoder gets."""

    steps: int
    validate_every: int
    batch: int  # pairs of a step
    points: int  # of each pair, drawn anew each time
    learning_rate: float  # constant after the warm-up, so that any two steps can be compared
    warmup: int = 100


@dataclass(frozen=True)
class FixedPairs:
    """Features of P pairs in half precision, with N points of each."""

    tokens0: Tensor  # (P, C, h, w) after the two-view transformer
    tokens1: Tensor
    fine0: Tensor  # (P, D, 4 h, 4 w)
    fine1: Tensor
    points0: Tensor  # (P, N, 2) px
    points1: Tensor
    visible: Tensor  # (P, N)

    def __len__(self) -> int:
        return len(self.visible)


@dataclass(frozen=True)
class Row:
    """One validation."""

    attention: str
    seed: int
    step: int
    within_4px: float  # share of visible points of pairs that were never trained on
    within_8px: float
    median_px: float
    seconds: float  # of training until here
    parameters: int
    own_place_8px: float  # the share that answering with the place in image 0 would have


def fixed_pairs(
    matcher: Matcher, photos: Sequence[np.ndarray], count: int, side: int, points: int, seed: int
) -> Iterator[FixedPairs]:
    """Features of `count` synthetic pairs of side x side pixels, `BATCH` at a time."""
    settings = PairSettings(
        sizes=((side, side),), batch=BATCH, scenes=0.2, negatives=0.0, easy=0.5, ramp=10**9
    )
    data: Dataset[PointPairs] = PointBatches(
        PairBatches(photos, settings, matcher.cell_centre, seed), points
    )
    for number in range(-(-count // BATCH)):
        yield _features(matcher, data[number])


@torch.no_grad()
def _features(matcher: Matcher, batch: PointPairs) -> FixedPairs:
    features0, features1 = matcher.extract(batch.image0), matcher.extract(batch.image1)
    tokens = matcher.coarse_tokens(features0, features1)
    size = features0.coarse.shape[-2:]
    tokens0, tokens1 = (_even(each).mT.unflatten(2, size).half() for each in tokens)
    return FixedPairs(
        tokens0=tokens0,
        tokens1=tokens1,
        fine0=features0.fine.half(),
        fine1=features1.fine.half(),
        points0=batch.points0,
        points1=batch.points1,
        visible=batch.visible,
    )


def _even(tokens: Tensor) -> Tensor:
    """Tokens (B, L, C) of mean square 1; as the matcher makes them they would drown the places."""
    return F.normalize(tokens, dim=-1) * tokens.shape[-1] ** 0.5


def joined(parts: Sequence[FixedPairs]) -> FixedPairs:
    """All pairs as one set."""
    names = FixedPairs.__dataclass_fields__
    return FixedPairs(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names})


def learn(
    config: PointConfig,
    seed: int,
    training: FixedPairs,
    validation: FixedPairs,
    budget: Budget,
) -> Iterator[Row]:
    """Trains one decoder and gives its validations as they come.

    The seed decides the weights at the start; pairs and points come in the same order for all decoders.
    """
    torch.manual_seed(seed)
    state = TrainState.fresh(PointDecoder(config), budget.learning_rate, WEIGHT_DECAY)
    parameters = sum(weight.numel() for weight in state.network.parameters())
    generator = torch.Generator().manual_seed(seed)
    own = own_place(validation)
    spent = 0.0
    for step in range(1, budget.steps + 1):
        began = time.perf_counter()
        for group in state.optimiser.param_groups:
            group["lr"] = budget.learning_rate * min(1.0, step / budget.warmup)
        chosen = torch.randint(len(training), (budget.batch,), generator=generator)
        batch = _some_points(_taken(training, chosen), budget.points, generator)
        loss, _ = point_loss(
            _decoded(state.network, batch), batch.points1, batch.visible, float("inf")
        )
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), CLIP)
        state.optimiser.step()
        state.step = step
        state.update_average(AVERAGE)
        spent += time.perf_counter() - began
        if step % budget.validate_every == 0 or step == budget.steps:
            (half_cell, cell), median = accuracy(state.average, validation)
            found = (half_cell, cell, median, spent, parameters, own)
            yield Row(config.attention, seed, step, *found)


@torch.no_grad()
def accuracy(decoder: PointDecoder, pairs: FixedPairs) -> tuple[list[float], float]:
    """Shares of the visible points within `LIMITS_PX`, and their median distance in px."""
    distances = []
    for chosen in torch.arange(len(pairs)).split(BATCH):
        part = _taken(pairs, chosen)
        distances.append(_distances(_decoded(decoder, part).points, part))
    all_of_them = torch.cat(distances)
    return _shares(all_of_them), float(all_of_them.median())


def own_place(pairs: FixedPairs) -> float:
    """Share of the visible points within 8 px of where they are in image 0: no decoder at all."""
    return _shares(_distances(pairs.points0, pairs))[-1]


def _distances(answers: Tensor, pairs: FixedPairs) -> Tensor:
    """Of the visible points, in px."""
    return (answers - pairs.points1).norm(dim=-1)[pairs.visible]


def _shares(distances: Tensor) -> list[float]:
    return [float((distances <= limit).float().mean()) for limit in LIMITS_PX]


def final_accuracy(rows: Sequence[Row], attention: str, seed: int) -> float:
    """Mean share within 8 px over the last validations of one run."""
    ours = [row.within_8px for row in rows if (row.attention, row.seed) == (attention, seed)]
    return float(np.mean(ours[-LAST:]))


def steps_to_reach(rows: Sequence[Row], attention: str, seed: int, wanted: float) -> int | None:
    """The first step at which the share within 8 px was `wanted`; None where it never was."""
    ours = [row for row in rows if (row.attention, row.seed) == (attention, seed)]
    return next((row.step for row in ours if row.within_8px >= wanted), None)


def _taken(pairs: FixedPairs, chosen: Tensor) -> FixedPairs:
    """Some of the pairs, in float32."""
    parts = {name: value[chosen] for name, value in vars(pairs).items()}
    maps = {name: parts[name].float() for name in ("tokens0", "tokens1", "fine0", "fine1")}
    return FixedPairs(**(parts | maps))


def _some_points(pairs: FixedPairs, count: int, generator: torch.Generator) -> FixedPairs:
    some = torch.randperm(pairs.visible.shape[1], generator=generator)[:count]
    parts = {name: getattr(pairs, name)[:, some] for name in ("points0", "points1", "visible")}
    return replace(pairs, **parts)


def _decoded(decoder: PointDecoder, pairs: FixedPairs) -> Decoded:
    side0 = side_maps(pairs.tokens0, pairs.fine0, None)
    side1 = side_maps(pairs.tokens1, pairs.fine1, None)
    maps = PairMaps(side0, side1, decoder.pyramid(side0), decoder.pyramid(side1), None)
    decoded: Decoded = decoder(maps, pairs.points0)
    return decoded
