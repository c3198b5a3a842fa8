"""Feature matching between two images: `load_predictor().match(image0, image1)`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matching.checkpoint import load_checkpoint, save_checkpoint
    from matching.config import PRESETS, MatcherConfig
    from matching.model import MatchBatch, Matcher, build_matcher
    from matching.point_model import PointMatcher
    from matching.predictor import (
        FailedPair,
        Matches,
        MatchPredictor,
        PointMatches,
        load_predictor,
    )

__all__ = [
    "PRESETS",
    "FailedPair",
    "MatchBatch",
    "MatchPredictor",
    "Matcher",
    "MatcherConfig",
    "Matches",
    "PointMatcher",
    "PointMatches",
    "build_matcher",
    "load_checkpoint",
    "load_predictor",
    "save_checkpoint",
]

# Imported at first use: `python -m matching --help` must not wait for torch.
HOMES = {
    "matching.checkpoint": ("load_checkpoint", "save_checkpoint"),
    "matching.config": ("PRESETS", "MatcherConfig"),
    "matching.model": ("MatchBatch", "Matcher", "build_matcher"),
    "matching.point_model": ("PointMatcher",),
    "matching.predictor": (
        "FailedPair",
        "Matches",
        "MatchPredictor",
        "PointMatches",
        "load_predictor",
    ),
}


def __getattr__(name: str) -> Any:
    for home, names in HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'matching' has no attribute {name!r}")
