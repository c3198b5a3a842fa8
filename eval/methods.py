"""Matchers by name: ours, a checkpoint, a baseline or one of others; and what identifies one, so that files of
predictions of another one are never scored by mistake.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from eval.adapters import FunctionMatcher, RecordedFile, find_function, is_function, is_recorded
from eval.baselines import SiftMatcher, XfeatMatcher
from matching.matches import Matches
from matching.predictor import load_predictor, weights_path

Made = TypeVar("Made")
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


BASELINE_CODE = ("eval/baselines.py", "matching/sift.py")
BASELINES: dict[str, Callable[[], PairMatcher]] = {
    "sift": SiftMatcher,
    "sift-precise": partial(SiftMatcher, precise=True),
    "xfeat": XfeatMatcher,
}


def find_method(name: str) -> Method:
    """The method of that name.

    Args:
        name: sift, sift-precise, xfeat, the name of shipped weights, the path of a checkpoint, a matches file (.h5) or
            module:function; see eval.adapters for the last two.

    Raises:
        FileNotFoundError: no such method, or no such checkpoint.
        ValueError: no such function.
    """
    if name in BASELINES:
        identity = f"{name} {digest([ROOT / file for file in BASELINE_CODE])}"
        return Method(name, identity, BASELINES[name])
    others = of_others(name, FunctionMatcher)
    if others is not None:
        return Method(*others)
    path = weights_path(name)
    identity = identity_of_ours(path, "matching")
    return Method(path.stem, identity, lambda: load_predictor(path, long_side=None))


def load_matcher(name: str) -> PairMatcher:
    """The matcher of that name, for single images rather than benchmarks.

    Raises:
        ValueError: the name is that of a file of predictions.
    """
    return not_recorded(find_method(name).load(), name)


def of_others(
    name: str, made_of: Callable[[Callable[..., Any], str], Made]
) -> tuple[str, str, Callable[[], Made | RecordedFile]] | None:
    """Name, identity and loader of a file of predictions or a function; None where it is neither.

    Args:
        name: what the user calls it.
        made_of: gives a method that calls a function, from that and `name`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such function.
    """
    if is_recorded(name):
        path = Path(name)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file of predictions; check the path")
        return path.stem, f"{path.name} {digest([path])}", lambda: RecordedFile(path)
    if is_function(name):
        function, code = find_function(name)
        return name.replace(":", "."), f"{name} {code}", lambda: made_of(function, name)
    return None


def not_recorded(method: Made | RecordedFile, name: str) -> Made:
    """The method of that name; ValueError where it is a file of predictions."""
    if isinstance(method, RecordedFile):
        raise ValueError(f"{name}: wanted a method that can look at images, got a file of results")
    return method


def identity_of_ours(path: Path, package: str) -> str:
    """Of a network of ours: its weights, and the code of the package that it is of."""
    return f"{path.stem} {digest([path])} code {digest(sources('attention_ops', package))}"


def sources(*packages: str) -> list[Path]:
    """The source files of the packages that decide what a network of ours predicts."""
    return sorted(file for package in packages for file in (ROOT / package).rglob("*.py"))


def digest(paths: list[Path]) -> str:
    """Twelve hexadecimal digits that stand for the contents of the files."""
    contents = hashlib.sha256()
    for path in paths:
        contents.update(path.read_bytes())
    return contents.hexdigest()[:12]
