"""Matchers by name: ours, a checkpoint, a baseline or one of others; and what identifies one, so that files of
predictions of another one are never scored by mistake.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from eval.adapters import FunctionMatcher, RecordedFile, find_function, is_function, is_recorded
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
    load: Callable[[], PairMatcher | RecordedFile]


BASELINES: dict[str, Callable[[], PairMatcher]] = {"sift": SiftMatcher, "xfeat": XfeatMatcher}


def find_method(name: str) -> Method:
    """The method of that name.

    Args:
        name: sift, xfeat, the name of shipped weights, the path of a checkpoint, a matches file (.h5) or
            module:function; see eval.adapters for the last two.

    Raises:
        FileNotFoundError: no such method, or no such checkpoint.
        ValueError: no such function.
    """
    if name in BASELINES:
        identity = f"{name} {digest([Path(__file__).with_name('baselines.py')])}"
        return Method(name, identity, BASELINES[name])
    if is_recorded(name):
        recorded = recorded_file(name)
        return Method(
            recorded.path.stem, f"{recorded.path.name} {digest([recorded.path])}", lambda: recorded
        )
    if is_function(name):
        function, code = find_function(name)
        matcher = FunctionMatcher(function, name)
        return Method(name.replace(":", "."), f"{name} {code}", lambda: matcher)
    path = weights_path(name)
    identity = f"{path.stem} {digest([path])} code {digest(sources('attention_ops', 'matching'))}"
    return Method(path.stem, identity, lambda: load_predictor(path, long_side=None))


def load_matcher(name: str) -> PairMatcher:
    """The matcher of that name, for single images rather than benchmarks.

    Raises:
        ValueError: the name is that of a file of predictions.
    """
    matcher = find_method(name).load()
    if isinstance(matcher, RecordedFile):
        raise ValueError(f"{name}: wanted a method that can match images, got a file of matches")
    return matcher


def recorded_file(name: str) -> RecordedFile:
    """The file of predictions of that name.

    Raises:
        FileNotFoundError: no such file.
    """
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of predictions; check the path")
    return RecordedFile(path)


def sources(*packages: str) -> list[Path]:
    """The source files of the packages that decide what a network of ours predicts."""
    return sorted(file for package in packages for file in (ROOT / package).rglob("*.py"))


def digest(paths: list[Path]) -> str:
    """Twelve hexadecimal digits that stand for the contents of the files."""
    contents = hashlib.sha256()
    for path in paths:
        contents.update(path.read_bytes())
    return contents.hexdigest()[:12]
