"""Disparity of rectified image pairs: `load_predictor().predict(left, right)`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stereo.checkpoint import load_checkpoint, save_checkpoint
    from stereo.config import PRESETS, StereoConfig
    from stereo.disparity import (
        Disparity,
        border_occlusion,
        disparity_to_depth,
        left_right_consistency,
        occlusion_from_disparities,
    )
    from stereo.model import StereoNetwork, build_stereo
    from stereo.output import StereoOutput
    from stereo.point_cloud import Calibration, PointCloud, back_project, write_ply
    from stereo.predictor import FailedPair, StereoPredictor, load_predictor

__all__ = [
    "PRESETS",
    "Calibration",
    "Disparity",
    "FailedPair",
    "PointCloud",
    "StereoConfig",
    "StereoNetwork",
    "StereoOutput",
    "StereoPredictor",
    "back_project",
    "border_occlusion",
    "build_stereo",
    "disparity_to_depth",
    "left_right_consistency",
    "load_checkpoint",
    "load_predictor",
    "occlusion_from_disparities",
    "save_checkpoint",
    "write_ply",
]

# Imported at first use: `python -m stereo --help` must not wait for torch.
HOMES = {
    "stereo.checkpoint": ("load_checkpoint", "save_checkpoint"),
    "stereo.config": ("PRESETS", "StereoConfig"),
    "stereo.disparity": (
        "Disparity",
        "border_occlusion",
        "disparity_to_depth",
        "left_right_consistency",
        "occlusion_from_disparities",
    ),
    "stereo.model": ("StereoNetwork", "build_stereo"),
    "stereo.output": ("StereoOutput",),
    "stereo.point_cloud": ("Calibration", "PointCloud", "back_project", "write_ply"),
    "stereo.predictor": ("FailedPair", "StereoPredictor", "load_predictor"),
}


def __getattr__(name: str) -> Any:
    for home, names in HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'stereo' has no attribute {name!r}")
