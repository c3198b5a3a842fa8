"""Stereo methods by name: ours, a checkpoint, or a baseline; and what identifies one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data_scripts.given_images import Image
from eval.methods import digest, sources
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
    load: Callable[[], PairStereo]


def find_stereo_method(name: str) -> StereoMethod:
    """The method of that name: sgbm, the name of shipped weights, or the path of a checkpoint.

    Raises:
        FileNotFoundError: no such method, or no such checkpoint.
    """
    if name == "sgbm":
        from eval import sgbm

        identity = f"sgbm {digest([Path(__file__).with_name('sgbm.py')])}"
        return StereoMethod(name, identity, sgbm.PROTOCOL, sgbm.SgbmMatcher)
    from stereo.predictor import load_predictor, weights_path

    path = weights_path(name)
    identity = f"{path.stem} {digest([path])} code {digest(sources('attention_ops', 'stereo'))}"
    protocol = "no fine-tuning on the sets shown, images at their own size"
    return StereoMethod(path.stem, identity, protocol, lambda: load_predictor(path))
