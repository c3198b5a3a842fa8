"""Stereo methods by name: ours, a checkpoint, a baseline or one of others; and what identifies one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data_scripts.given_images import Image
from eval.adapters import FunctionStereo, RecordedFile, is_recorded
from eval.methods import digest, identity_of_ours, not_recorded, of_others
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
    others = of_others(name, FunctionStereo)
    if others is not None:
        title, identity, load = others
        function = f"function {name}, images at their own size"
        protocol = f"read from {name}" if is_recorded(name) else function
        return StereoMethod(title, identity, protocol, load)
    from stereo.predictor import load_predictor, weights_path

    path = weights_path(name)
    protocol = "no fine-tuning on the sets shown, images at their own size"
    identity = identity_of_ours(path, "stereo")
    return StereoMethod(path.stem, identity, protocol, lambda: load_predictor(path))


def load_stereo(name: str) -> PairStereo:
    """The method of that name, for single images rather than benchmarks.

    Raises:
        ValueError: the name is that of a file of disparities.
    """
    return not_recorded(find_stereo_method(name).load(), name)
