"""Stereo methods by name: ours, a checkpoint, a baseline or one of others; and what identifies one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data_scripts.given_images import Image
from eval.adapters import FunctionStereo, RecordedFile, find_function, is_function, is_recorded
from eval.methods import digest, recorded_file, sources
from stereo.disparity import Disparity


class PairStereo(Protocol):
    """Anything that gives the disparity of a rectified pair."""

    def predict(self, left: Image, right: Image) -> Disparity:
        """Disparity in pixels of the left image as given."""
        ...


@dataclass(frozen=True)
class StereoMethod:
    """A stereo method that is made when it is first needed."""

    name: str  # also the name of its folder of results
    identity: str  # changes when the predictions may change
    protocol: str  # what a reader must know of it
    load: Callable[[], PairStereo | RecordedFile]


def find_stereo_method(name: str) -> StereoMethod:
    """The method of that name: sgbm, shipped weights, a checkpoint, a file of disparities, module:function.

    Raises:
        FileNotFoundError: no such method, or no such checkpoint.
        ValueError: no such function.
    """
    if name == "sgbm":
        from eval import sgbm
        from stereo import semi_global

        files = [Path(module.__file__ or "") for module in (sgbm, semi_global)]
        identity = f"sgbm {digest(files)}"
        return StereoMethod(name, identity, sgbm.PROTOCOL, sgbm.SgbmMatcher)
    if is_recorded(name):
        recorded = recorded_file(name)
        identity = f"{recorded.path.name} {digest([recorded.path])}"
        return StereoMethod(recorded.path.stem, identity, f"read from {name}", lambda: recorded)
    if is_function(name):
        function, code = find_function(name)
        stereo = FunctionStereo(function, name)
        words = f"function {name}, images at their own size"
        return StereoMethod(name.replace(":", "."), f"{name} {code}", words, lambda: stereo)
    from stereo.predictor import load_predictor, weights_path

    path = weights_path(name)
    identity = f"{path.stem} {digest([path])} code {digest(sources('attention_ops', 'stereo'))}"
    protocol = "no fine-tuning on the sets shown, images at their own size"
    return StereoMethod(path.stem, identity, protocol, lambda: load_predictor(path))


def load_stereo(name: str) -> PairStereo:
    """The method of that name, for single images rather than benchmarks.

    Raises:
        ValueError: the name is that of a file of disparities.
    """
    stereo = find_stereo_method(name).load()
    if isinstance(stereo, RecordedFile):
        raise ValueError(f"{name}: wanted a method that can look at images, got a file of results")
    return stereo
