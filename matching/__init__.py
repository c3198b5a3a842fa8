"""Feature matching between two images: `load_predictor().match(image0, image1)`."""

from matching.checkpoint import load_checkpoint, save_checkpoint
from matching.config import PRESETS, MatcherConfig
from matching.model import MatchBatch, Matcher, build_matcher
from matching.predictor import FailedPair, Matches, MatchPredictor, load_predictor

__all__ = [
    "PRESETS",
    "FailedPair",
    "MatchBatch",
    "MatchPredictor",
    "Matcher",
    "MatcherConfig",
    "Matches",
    "build_matcher",
    "load_checkpoint",
    "load_predictor",
    "save_checkpoint",
]
