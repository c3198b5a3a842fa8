"""Checkpoints of a stereo network: `data_scripts.weights_file` with a `StereoConfig`.

Official STTR files are read by `stereo.official`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from data_scripts.weights_file import Card, load_weights, save_weights
from stereo.config import StereoConfig
from stereo.model import build_stereo


def save_checkpoint(
    path: str | Path,
    network: nn.Module,
    config: StereoConfig,
    card: Card,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes weights, config and card; arguments and errors as `save_weights`."""
    save_weights(path, network, config, card, dtype)


def load_checkpoint(path: str | Path) -> tuple[nn.Module, StereoConfig, dict[str, Any]]:
    """The network saved at `path`, in eval mode on the CPU in float32, with its config and card.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: the file is no checkpoint, is broken or does not fit its own config.
    """
    return load_weights(path, StereoConfig, build_stereo)
