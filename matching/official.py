"""Official LoFTR and QuadTree checkpoints, and the key map between their names and ours.

The map, official name <-> ours (i counts layers; the prefix `matcher.` of the files is dropped):

    backbone.*                         trunk.*
    loftr_coarse.layers.i.*            transformer.layers.i.*
    fine_preprocess.*                  fine.*
    loftr_fine.layers.i.*              fine.transformer.layers.i.*
    coarse_matching.bin_score          dustbin                 (Sinkhorn variants)

and inside a layer of LoFTR:

    q_proj k_proj v_proj merge         attention.query .key .value .out

and inside a layer of QuadTree, where the first three are 1x1 convolutions, (C, C, 1, 1), that are
linear layers, (C, C), here:

    attn.q_proj .k_proj .v_proj        attention.query .key .value
    attn.py_att.weight                 attention.level_weight  (variant B, coarsest level first)
    attn.proj                          attention.out
    mlp.fc1 mlp.dwconv.dwconv mlp.fc2  fc1 conv fc2

All else has one name. A file does not say whether it was trained with the corrected position
encoding, with which top-K, or indoors or outdoors: the caller's preset must. Released files:

    loftr          indoor_ds, outdoor_ds         loftr_ot           indoor_ot, outdoor_ot
    loftr_new      indoor_ds_new                 quadtree           QuadTree indoor
                                                 quadtree_outdoor   QuadTree outdoor
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from data_scripts.torch_file import read_torch_weights
from data_scripts.weights_file import check_finite, check_weights
from matching.config import PRESETS, MatcherConfig
from matching.model import Matcher, build_matcher

PREFIX = "matcher."
PLACES = {  # ours: official
    "trunk.conv1.": "backbone.conv1.",
    "trunk.bn1.": "backbone.bn1.",
    "trunk.layer": "backbone.layer",
    "transformer.layers.": "loftr_coarse.layers.",
    "fine.down_proj.": "fine_preprocess.down_proj.",
    "fine.merge_feat.": "fine_preprocess.merge_feat.",
    "fine.transformer.layers.": "loftr_fine.layers.",
    "dustbin": "coarse_matching.bin_score",
}
LOFTR_LAYER = {
    "attention.query.": "q_proj.",
    "attention.key.": "k_proj.",
    "attention.value.": "v_proj.",
    "attention.out.": "merge.",
    "mlp.": "mlp.",
    "norm": "norm",
}
QUADTREE_LAYER = {
    "attention.query.": "attn.q_proj.",
    "attention.key.": "attn.k_proj.",
    "attention.value.": "attn.v_proj.",
    "attention.level_weight": "attn.py_att.weight",
    "attention.out.": "attn.proj.",
    "fc1.": "mlp.fc1.",
    "conv.": "mlp.dwconv.dwconv.",
    "fc2.": "mlp.fc2.",
    "norm": "norm",
}
FIRST_LAYER = "loftr_coarse.layers.0."


@dataclass(frozen=True)
class Family:
    """Which official network a set of weights belongs to."""

    name: str  # "LoFTR", "QuadTree-A", "QuadTree-B", "STTR" or "STTR-light"
    sinkhorn: bool = False  # coarse matching by optimal transport

    def __str__(self) -> str:
        return self.name + (" with Sinkhorn matching" if self.sinkhorn else "")


def recognise(weights: Mapping[str, Tensor], source: str = "weights") -> Family:
    """The family of official weights, without the prefix, from their names and shapes.

    Raises:
        ValueError: they are of no family that we know.
    """
    sinkhorn = "coarse_matching.bin_score" in weights
    if f"{FIRST_LAYER}attn.py_att.weight" in weights:
        return Family("QuadTree-B", sinkhorn)
    if f"{FIRST_LAYER}attn.q_proj.weight" in weights:
        return Family("QuadTree-A", sinkhorn)
    if f"{FIRST_LAYER}q_proj.weight" in weights:
        return Family("LoFTR", sinkhorn)
    if any(name.startswith("tokenizer.up.1.") for name in weights):
        light = not any(name.startswith("tokenizer.up.2.") for name in weights)
        return Family("STTR-light" if light else "STTR")
    names = ", ".join(list(weights)[:3]) or "no weights at all"
    raise ValueError(f"{source} must hold LoFTR or QuadTree weights, got {names}")


def family_of(config: MatcherConfig) -> Family:
    """The family of official weights that fits a config.

    Raises:
        ValueError: no official network is built like that.
    """
    coarse = config.coarse
    plain = coarse.position == "none" and coarse.value_pyramid == "pool"
    shared = config.trunk.name == "resnet_fpn" and config.fine.name == "loftr"
    sinkhorn = config.matching == "sinkhorn"
    if shared and config.similarity == "scaled":
        if coarse.block == "loftr" and coarse.attention != "quadtree":
            return Family("LoFTR", sinkhorn)
        if coarse.block == coarse.attention == "quadtree" and plain:
            return Family(f"QuadTree-{coarse.variant}", sinkhorn)
    raise ValueError(
        "config must be that of an official network, got one that mixes others; "
        f"presets that have one: {', '.join(_official_presets())}"
    )


def official_names(ours: Iterable[str]) -> dict[str, str]:
    """For every one of our names, in order, the official one.

    Args:
        ours: all names of a matcher's state dict: they tell which kind of layer it has.

    Raises:
        ValueError: a name has no official counterpart.
    """
    ours = list(ours)
    quadtree = any(name.startswith("transformer.layers.0.fc1.") for name in ours)
    return {name: _official_name(name, quadtree) for name in ours}


def to_official(matcher: Matcher) -> dict[str, Tensor]:
    """The weights of a matcher as the official networks (and kornia's) name and shape them."""
    weights = matcher.state_dict()
    shapes = official_shapes(matcher)
    names = official_names(weights)
    return {names[ours]: value.reshape(shapes[names[ours]]) for ours, value in weights.items()}


def official_shapes(matcher: Matcher) -> dict[str, torch.Size]:
    """Name and shape of every official weight that the matcher takes."""
    weights = matcher.state_dict()
    shapes = {official: weights[ours].shape for ours, official in official_names(weights).items()}
    return {
        name: torch.Size((*shape, 1, 1)) if _is_convolution(name) else shape
        for name, shape in shapes.items()
    }


def load_official_weights(
    matcher: Matcher, weights: Mapping[str, Tensor], source: str = "weights"
) -> None:
    """Fills a matcher with official weights, with or without the prefix `matcher.`.

    Raises:
        ValueError: a name or shape is not the matcher's, or a weight is not finite.
    """
    weights = {name.removeprefix(PREFIX): value for name, value in weights.items()}
    check_weights(source, official_shapes(matcher), weights)
    check_finite(source, weights)
    own = matcher.state_dict()
    matcher.load_state_dict(
        {
            ours: weights[official].reshape(own[ours].shape)
            for ours, official in official_names(own).items()
        },
        strict=True,
    )


def load_official(path: str | Path, preset: str) -> tuple[Matcher, MatcherConfig]:
    """The matcher of an official .ckpt or .pth file, in eval mode on the CPU, and its config.

    Args:
        path: of the file; nothing but tensors is ever unpickled from it.
        preset: what the file does not say; see the table at the top.

    Raises:
        FileNotFoundError: nothing is at `path`.
        ValueError: the preset is unknown, or the file is broken or of another network.
    """
    if preset not in _official_presets():
        raise ValueError(f"preset must be one of {', '.join(_official_presets())}, got {preset!r}")
    config = PRESETS[preset]
    weights = read_official(path)
    found, wanted = recognise(weights, str(path)), family_of(config)
    if found != wanted:
        raise ValueError(f"{path} must be {wanted} for preset {preset!r}, got {found}")
    matcher = build_matcher(config)
    load_official_weights(matcher, weights, str(path))
    return matcher.eval(), config


def read_official(path: str | Path) -> dict[str, Tensor]:
    """The weights in a .ckpt or .pth file, without the prefix `matcher.`.

    Raises:
        FileNotFoundError: nothing is at `path`.
        ValueError: the file is broken, or holds something else than tensors.
    """
    return {name.removeprefix(PREFIX): value for name, value in read_torch_weights(path).items()}


def _official_presets() -> list[str]:
    return [name for name, config in PRESETS.items() if config.trunk.name == "resnet_fpn"]


def _official_name(name: str, quadtree: bool) -> str:
    place = _prefix_of(name, PLACES)
    if place is None:
        raise ValueError(f"{name} has no counterpart in the official networks")
    outer, inner = PLACES[place], name.removeprefix(place)
    if not place.endswith("layers."):
        return outer + inner
    number, rest = inner.split(".", 1)
    table = QUADTREE_LAYER if quadtree and place == "transformer.layers." else LOFTR_LAYER
    part = _prefix_of(rest, table)
    if part is None:
        raise ValueError(f"{name} has no counterpart in the official networks")
    return f"{outer}{number}.{table[part]}{rest.removeprefix(part)}"


def _prefix_of(name: str, table: Mapping[str, str]) -> str | None:
    """The first key of the table that the name begins with."""
    return next((start for start in table if name.startswith(start)), None)


def _is_convolution(official: str) -> bool:
    """Whether this weight of ours, of a linear layer, is officially a 1x1 convolution's."""
    return ".attn." in official and official.endswith("_proj.weight")
