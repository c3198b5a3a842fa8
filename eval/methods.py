"""Matchers by name: ours, a checkpoint, or a baseline; and what identifies one, so that files of
predictions of another one are never scored by mistake.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from eval.baselines import SiftMatcher, XfeatMatcher
from matching.matches import Matches
from matching.predictor import load_predictor, weights_path

ROOT = Path(__file__).parents[1]


class PairMatcher(Protocol):
    """Anything that matches two RGB images (H, W, 3) uint8."""

    def match(self, image0: np.ndarray, image1: np.ndarray) -> Matches:
        """Matches in pixels of the images as given, best first."""
        ...


@dataclass(frozen=True)
class Method:
    """A matcher that is made when it is first needed."""

    name: str  # also the name of its folder of results
    identity: str  # changes when the predictions may change
    load: Callable[[], PairMatcher]


BASELINES: dict[str, Callable[[], PairMatcher]] = {"sift": SiftMatcher, "xfeat": XfeatMatcher}


def find_method(name: str) -> Method:
    """The method of that name: sift, xfeat, the name of shipped weights, or the path of a checkpoint.

    Raises:
        FileNotFoundError: no such method, or no such checkpoint.
    """
    if name in BASELINES:
        identity = f"{name} {digest([Path(__file__).with_name('baselines.py')])}"
        return Method(name, identity, BASELINES[name])
    path = weights_path(name)
    identity = f"{path.stem} {digest([path])} code {digest(sources('attention_ops', 'matching'))}"
    return Method(path.stem, identity, lambda: load_predictor(path, long_side=None))


def sources(*packages: str) -> list[Path]:
    """The source files of the packages that decide what a network of ours predicts."""
    return sorted(file for package in packages for file in (ROOT / package).rglob("*.py"))


def digest(paths: list[Path]) -> str:
    """Twelve hexadecimal digits that stand for the contents of the files."""
    contents = hashlib.sha256()
    for path in paths:
        contents.update(path.read_bytes())
    return contents.hexdigest()[:12]
