"""Methods of others in this harness: predictions in an HDF5 file, or a function of theirs.

A matches file has a group per pair, named as the benchmark names the pair (the names stand in results.json of any
method), with kpts0 (N, 2), kpts1 (N, 2) x, y in pixels of the image files and, if the method has it,
confidence (N,). A disparity file has disparity (H, W) in pixels of the left image and perhaps occlusion (H, W)
in [0, 1]. The top-left pixel has its centre at (0, 0).

A function is named `module:function` and is imported from the working directory or from what is installed. It
gets two RGB images (H, W, 3) uint8 and returns kpts0, kpts1 and perhaps confidence, or a disparity and perhaps
occlusion.
"""

import hashlib
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_scripts.untrusted import open_untrusted_h5, read_h5_array, told_as
from matching.matches import Matches
from stereo.disparity import Disparity

FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True)
class RecordedFile:
    """Predictions that someone else has made; read by the name of the pair."""

    path: Path

    def matches(self, name: str) -> Matches:
        """The matches of that pair, in pixels of the image files.

        Raises:
            ValueError: the file has no such pair, or arrays of another form.
        """
        with told_as(self.path, "HDF5 with matches"):
            found = self._arrays(name, ("kpts0", "kpts1"))
            given = found["kpts0"], found["kpts1"], found.get("confidence")
            return as_matches(given, str(self.path))

    def disparity(self, name: str) -> Disparity:
        """The disparity of that pair; errors as in `matches`."""
        with told_as(self.path, "HDF5 with disparities"):
            found = self._arrays(name, ("disparity",))
            return as_disparity((found["disparity"], found.get("occlusion")), str(self.path))

    def _arrays(self, name: str, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
        with open_untrusted_h5(self.path) as file:
            group = self._group(file, name, keys)
            return {key: read_h5_array(group[key], self.path) for key in group}

    def _group(self, file: h5py.File, name: str, keys: tuple[str, ...]) -> h5py.Group:
        group = file.get(name)
        if not isinstance(group, h5py.Group) or not all(key in group for key in keys):
            raise ValueError(
                f"{self.path}: wanted a group {name!r} with {', '.join(keys)}, got none; it needs one "
                "for each pair, empty arrays where the method found nothing"
            )
        return group


@dataclass(frozen=True)
class FunctionMatcher:
    """A matcher made of a function of two images."""

    function: Callable[[np.ndarray, np.ndarray], Any]
    name: str

    def match(self, image0: np.ndarray, image1: np.ndarray) -> Matches:
        """Matches of two RGB images (H, W, 3) uint8, best first."""
        return as_matches(self.function(image0, image1), self.name)


@dataclass(frozen=True)
class FunctionStereo:
    """A stereo method made of a function of two images."""

    function: Callable[[np.ndarray, np.ndarray], Any]
    name: str

    def predict(self, left: Any, right: Any) -> Disparity:
        """Disparity of two RGB images of equal size."""
        return as_disparity(self.function(left, right), self.name)


def is_recorded(name: str) -> bool:
    """Whether that name of a method is a file of predictions."""
    return Path(name).suffix.lower() in SUFFIXES


def is_function(name: str) -> bool:
    """Whether that name of a method is `module:function`."""
    return FUNCTION.fullmatch(name) is not None


def find_function(name: str) -> tuple[Callable[[np.ndarray, np.ndarray], Any], str]:
    """The function that `module:function` names, and twelve digits of the contents of its module.

    Raises:
        ValueError: no such module or function.
    """
    module_name, function_name = name.split(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"{name}: wanted a module that can be imported, got: {error}; run from its folder"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"{name}: {module_name} has no function {function_name}")
    source = getattr(module, "__file__", None)
    contents = Path(source).read_bytes() if source else name.encode()
    return function, hashlib.sha256(contents).hexdigest()[:12]


def as_matches(given: Any, name: str) -> Matches:
    """What a method returned, checked and sorted by confidence.

    Raises:
        ValueError: other shapes, or points that are not finite.
    """
    if isinstance(given, Matches):
        return given
    kpts0, kpts1, *rest = given
    kpts0, kpts1 = (np.asarray(kpts, np.float64).reshape(-1, 2) for kpts in (kpts0, kpts1))
    confidence = rest[0] if rest else None
    confidence = np.ones(len(kpts0)) if confidence is None else np.asarray(confidence, float)
    if not len(kpts0) == len(kpts1) == len(confidence) or confidence.ndim != 1:
        raise ValueError(
            f"{name}: wanted kpts0 (N, 2), kpts1 (N, 2), confidence (N,), got {kpts0.shape}, "
            f"{kpts1.shape}, {confidence.shape}"
        )
    if not (np.isfinite(kpts0).all() and np.isfinite(kpts1).all()):
        raise ValueError(f"{name}: wanted finite points, got NaN or infinity; leave them out")
    order = np.argsort(-confidence, kind="stable")
    return Matches(kpts0[order], kpts1[order], confidence[order].astype(np.float32))


def as_disparity(given: Any, name: str) -> Disparity:
    """What a stereo method returned, checked; without occlusion, nothing is said to be occluded.

    Raises:
        ValueError: other shapes.
    """
    if isinstance(given, Disparity):
        return given
    disp, occlusion = given if isinstance(given, tuple) else (given, None)
    disp = np.asarray(disp, np.float32)
    occlusion = np.zeros_like(disp) if occlusion is None else np.asarray(occlusion, np.float32)
    if disp.ndim != 2 or occlusion.shape != disp.shape:
        raise ValueError(
            f"{name}: wanted disparity (H, W) and occlusion of that size, got {disp.shape}, "
            f"{occlusion.shape}"
        )
    return Disparity(disp, occlusion, 1 - occlusion)
