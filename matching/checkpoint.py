"""Checkpoints of a matcher: `data_scripts.weights_file` with a `MatcherConfig`.

Official LoFTR and QuadTree files are read by `matching.official`.
"""

from pathlib import Path
from typing import Any

import torch

from data_scripts.weights_file import Card, load_weights, save_weights
from matching.config import MatcherConfig
from matching.model import Matcher, build_matcher


def save_checkpoint(
    path: str | Path,
    matcher: Matcher,
    config: MatcherConfig,
    card: Card,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes weights, config and card; arguments and errors as `save_weights`."""
    save_weights(path, matcher, config, card, dtype)


def load_checkpoint(path: str | Path) -> tuple[Matcher, MatcherConfig, dict[str, Any]]:
    """The matcher saved at `path`, in eval mode on the CPU in float32, with its config and card.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: the file is no checkpoint, is broken or does not fit its own config.
    """
    return load_weights(path, MatcherConfig, build_matcher)
