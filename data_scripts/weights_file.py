"""Weights of a network in one safetensors file, with its config and card.

The metadata of the file has one entry, `quadview`, a JSON object:

    format   1
    config   the fields of the network's config dataclass, nested
    card     whatever describes the weights: licence, training data, metrics, ...

Which config and which network is the caller's business: `matching.checkpoint`, `stereo.checkpoint`.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from data_scripts.atomic import replacing
from data_scripts.config_json import config_from_json, config_to_json

FORMAT = 1  # raise when an old reader would misread a new file
ENTRY = "quadview"
NAMED = 5  # faults that a message spells out
STORAGE = (torch.float32, torch.float16, torch.bfloat16)
Card = Mapping[str, Any]
Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)


def save_weights(
    path: str | Path,
    network: nn.Module,
    config: Any,
    card: Card,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes weights, config and card; a crash leaves what was at `path` before.

    Equal arguments give equal bytes.

    Args:
        path: of the file, `*.safetensors` by custom.
        network: built from `config`.
        config: dataclass of settings that the network was built from.
        card: JSON-able; numbers that are not finite become null.
        dtype: of stored weights with two axes and more; halves the file where it has 16 bits.
            Norms, biases and running statistics stay float32.

    Raises:
        ValueError: a weight is not finite, in `dtype`, or the card cannot be JSON.
    """
    if dtype not in STORAGE:
        raise ValueError(f"dtype must be one of {STORAGE}, got {dtype}")
    path = Path(path)
    weights = {name: _stored(value, dtype) for name, value in network.state_dict().items()}
    check_finite(str(path), weights)
    try:
        text = json.dumps(
            {"format": FORMAT, "config": config_to_json(config), "card": _finite(card)},
            allow_nan=False,
        )
    except TypeError as error:
        raise ValueError(f"card must hold only what JSON can, got {error}") from error
    _write(path, save(weights, {ENTRY: text}))


def load_weights(
    path: str | Path, kind: type[Config], build: Callable[[Config], Network]
) -> tuple[Network, Config, dict[str, Any]]:
    """The network saved at `path`, in eval mode on the CPU in float32, with its config and card.

    Args:
        path: of the file.
        kind: dataclass of the config.
        build: makes the network of a config.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: the file is none of these, is broken or does not fit its own config.
    """
    path = Path(path)
    config, card = read_card(path, kind)
    try:
        with torch.device("meta"):  # shapes without memory; draws no random numbers
            network = build(config)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} must hold a config that can be built, got {error}") from error
    try:
        weights = load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(_broken(path, error)) from error
    wanted = network.state_dict()
    check_weights(str(path), {name: value.shape for name, value in wanted.items()}, weights)
    check_finite(str(path), weights)
    converted = {name: weights[name].to(value.dtype) for name, value in wanted.items()}
    network.load_state_dict(converted, strict=True, assign=True)
    return network.eval(), config, card


def read_card(path: str | Path, kind: type[Config]) -> tuple[Config, dict[str, Any]]:
    """Config and card of the file at `path`, without its weights.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: the file is no checkpoint of this kind or is broken.
    """
    path = Path(path)
    check_is_file(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, UnicodeDecodeError) as error:
        raise ValueError(_broken(path, error)) from error
    try:
        saved = json.loads(metadata[ENTRY])
        version, config, card = saved["format"], saved["config"], saved["card"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must be a checkpoint that quadview wrote, got a safetensors file without "
            "its config; official files are read by load_official"
        ) from error
    if version != FORMAT:
        raise ValueError(
            f"{path} must be of checkpoint format {FORMAT}, got {version!r}; update quadview"
        )
    try:
        return config_from_json(kind, config), dict(card)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{path} must hold a valid config, got one where {error}") from error


def find_weights(name_or_path: str | Path, shipped: Path) -> Path:
    """The checkpoint file that a path, or a name of weights in the folder `shipped`, stands for.

    Raises:
        FileNotFoundError: neither.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    named = {weights.stem: weights for weights in sorted(shipped.glob("*.safetensors"))}
    if str(name_or_path) in named:
        return named[str(name_or_path)]
    names = ", ".join(named) or "none in this checkout"
    raise FileNotFoundError(
        f"{name_or_path}: no such weights; give a checkpoint file or a shipped name ({names})"
    )


def check_is_file(path: Path) -> None:
    """Raises FileNotFoundError if nothing is at `path`, ValueError if it is no file."""
    if not path.exists():
        raise FileNotFoundError(f"{path} must be a checkpoint file, nothing is there")
    if not path.is_file():
        raise ValueError(f"{path} must be a checkpoint file, got a folder or a device")


def check_weights(
    source: str, wanted: Mapping[str, torch.Size], weights: Mapping[str, Tensor]
) -> None:
    """Checks that names and shapes are exactly the wanted ones.

    Raises:
        ValueError: they are not; one line names the first few faults and counts the rest.
    """
    faults = [f"missing {name} {tuple(wanted[name])}" for name in wanted if name not in weights]
    faults += [f"unknown {name}" for name in weights if name not in wanted]
    faults += [
        f"{name} is {tuple(weights[name].shape)} instead of {tuple(shape)}"
        for name, shape in wanted.items()
        if name in weights and weights[name].shape != shape
    ]
    if faults:
        rest = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise ValueError(
            f"{source} must hold the {len(wanted)} weights of this network, got "
            f"{len(weights)} that differ: {'; '.join(faults[:NAMED])}{rest}"
        )


def check_finite(source: str, weights: Mapping[str, Tensor]) -> None:
    """Raises ValueError, naming the first ones, if some weights are NaN or infinite."""
    bad = [name for name, value in weights.items() if not value.isfinite().all()]
    if bad:
        rest = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise ValueError(
            f"{source}: weights must be finite, got NaN or infinity in "
            f"{', '.join(bad[:NAMED])}{rest}"
        )


def _write(path: Path, content: bytes) -> None:
    """Writes a file so that `path` holds either what it held or all of `content`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # else the new name may outlive a power cut, and the content not


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    value = value.detach().cpu()
    if value.is_floating_point():
        value = value.to(dtype if value.dim() > 1 else torch.float32)
    return value.contiguous()


def _finite(value: Any) -> Any:
    """A copy of JSON-able `value` with None for numbers that JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _broken(path: Path, error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"{path} must be a safetensors file, got one that does not read ({line}); fetch it "
        "again, or for an official .ckpt use load_official"
    )
