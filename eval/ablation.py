"""The matcher `small` with one attention after another, each trained under the same budget.

Steps, batches and their order, optimiser and seeds are the same for all; the trunk and the fine stage
may begin from trained weights, the two-view transformer always begins anew.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from attention_ops import MECHANISMS
from eval.benchmarks import DEV, Benchmark
from eval.methods import find_method
from eval.pairs import ImagePair
from eval.runner import run
from matching.checkpoint import load_checkpoint
from matching.config import SMALL, MatcherConfig
from matching.data import PairSettings
from matching.model import Matcher, build_matcher
from matching.train import TrainSettings, train_matcher

VARIANTS = {"quadtree_a": "A", "quadtree_b": "B"}
# AUC thresholds that tell methods apart on the development sets, with the label of their column
THRESHOLDS = {"strecha": "10", "7scenes": "10", "graf": "5", "oxford": "5"}
KEPT = ("trunk.", "fine.")  # what begins from trained weights


@dataclass(frozen=True)
class Budget:
    """What every run of the ablation gets.

    Attributes:
        photos: folder of photographs that training pairs are made from.
        out: folder; each run has its own below it and goes on from there.
        start: weights of `small` whose trunk and fine stage all runs begin from; None: from nothing.
        steps: optimiser steps.
        batch: pairs in a step.
        side: of the square training crops, in pixels.
        learning_rate: peak.
        device: where to train.
        checks: validation batches, of 256 x 256.
    """

    photos: Path
    out: Path
    start: Path | None
    steps: int
    batch: int
    side: int
    learning_rate: float
    device: str
    checks: int


@dataclass(frozen=True)
class Accuracy:
    """How well one run ended, shares in percent."""

    mechanism: str
    seed: int
    recall: float  # share of true cell matches of held-out synthetic pairs that are found
    precision: float  # share of matches above the threshold there that are right to a cell
    fine_px: float  # median error there, after the fine stage
    auc: Mapping[str, float]  # development set -> area at its threshold


def mechanism_names() -> list[str]:
    """What `config_of` knows: the mechanisms, QuadTree as its two variants."""
    return [*VARIANTS, *(name for name in MECHANISMS if name != "quadtree")]


def config_of(mechanism: str) -> MatcherConfig:
    """`small` with another attention in its transformer.

    Raises:
        ValueError: no mechanism has that name.
    """
    if mechanism not in mechanism_names():
        raise ValueError(f"mechanisms are {', '.join(mechanism_names())}, got {mechanism!r}")
    changes: dict[str, Any] = {"attention": mechanism}
    if mechanism in VARIANTS:
        changes = {"attention": "quadtree", "variant": VARIANTS[mechanism]}
    return replace(SMALL, coarse=replace(SMALL.coarse, **changes))


def trained_weights(budget: Budget, mechanism: str, seed: int) -> Path:
    """Trains one run, or goes on with it, and gives the file of its averaged weights."""
    config = config_of(mechanism)
    torch.manual_seed(seed)
    matcher = build_matcher(config)
    if budget.start is not None:
        _begin_from(matcher, budget.start)
    settings = TrainSettings(
        photos=budget.photos,
        out=budget.out / mechanism / str(seed),
        steps=budget.steps,
        learning_rate=budget.learning_rate,
        warmup=max(1, budget.steps // 10),
        cooldown=max(1, budget.steps // 3),
        average=1 - 5 / max(budget.steps, 10),
        seed=seed,
        validate_every=max(1, budget.steps // 4),
        validation_batches=budget.checks,
        device=budget.device,
        pairs=PairSettings(
            sizes=((budget.side, budget.side),), batch=budget.batch, ramp=budget.steps
        ),
    )
    train_matcher(settings, matcher, config)
    return settings.out / "matcher.safetensors"


def _begin_from(matcher: Matcher, start: Path) -> None:
    """Gives the trunk and the fine stage the weights at `start`."""
    trained, _, _ = load_checkpoint(start)
    kept = {k: v for k, v in trained.state_dict().items() if k.startswith(KEPT)}
    _, unknown = matcher.load_state_dict(kept, strict=False)
    if unknown:
        raise ValueError(f"{start}: wanted weights of `small`, got {unknown[0]}")


def accuracy_of(
    weights: Path, mechanism: str, seed: int, data: Path | None, pairs: int
) -> Accuracy:
    """Scores of the last validation, and of the development sets below `data`.

    Args:
        weights: as `trained_weights` gives them.
        mechanism: name of the run.
        seed: of the run.
        data: folder that holds the sets; None: synthetic pairs only.
        pairs: so many of each set, evenly spread over it.
    """
    last = json.loads(weights.with_name("log.jsonl").read_text().splitlines()[-1])
    auc: dict[str, float] = {}
    if data is not None:
        for name, threshold in THRESHOLDS.items():
            benchmark = _thinned(DEV[name], pairs)
            results = run(benchmark, find_method(str(weights)), data, weights.with_name("dev"))
            auc[name] = 100 * results[0].summary.auc[threshold]
    shares = (100 * last["recall"], 100 * last["precision"])
    return Accuracy(mechanism, seed, *shares, last["fine_px"], auc)


def _thinned(benchmark: Benchmark, count: int) -> Benchmark:
    """The benchmark with `count` of its pairs at even distances, or all where there are fewer."""

    def read(folder: Path) -> Sequence[ImagePair]:
        found = benchmark.read(folder)
        chosen = torch.linspace(0, len(found) - 1, min(count, len(found))).round().long()
        return [found[number] for number in chosen.tolist()]

    return replace(benchmark, read=read, estimators=benchmark.estimators[:1])
