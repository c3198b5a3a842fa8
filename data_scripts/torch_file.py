"""Weights in the files that torch.save writes, read without running anything in them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_scripts.weights_file import check_is_file


def read_torch_weights(path: str | Path) -> dict[str, Tensor]:
    """The weights in a .ckpt, .pth or .tar file, whether it holds them bare or as 'state_dict'.

    Raises:
        FileNotFoundError: nothing is at `path`.
        ValueError: the file is broken, or holds something else than tensors.
    """
    path = Path(path)
    check_is_file(path)
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes make the unpickler raise exceptions of every kind
        # Only the first sentence: torch goes on to advise loading without this guard.
        line = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise ValueError(
            f"{path} must be a torch file of tensors, got one that does not read ({line}); if it "
            "is whole and you trust it, save its 'state_dict' alone"
        ) from error
    weights = saved.get("state_dict", saved) if isinstance(saved, Mapping) else saved
    if not isinstance(weights, Mapping) or not all(_is_weight(item) for item in weights.items()):
        raise ValueError(f"{path} must map names to tensors, or hold 'state_dict' that does")
    return dict(weights)


def _is_weight(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)
