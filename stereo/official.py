"""Official STTR and STTR-light checkpoints, and the key map between their names and ours.

The map, ours -> official (i and k count layers):

    backbone.*                                      the same
    tokenizer.(bottle_neck|dense_block.k).layers.i.*  tokenizer.(...).denselayer(i + 1).*
    tokenizer.dense_block.2.*                       tokenizer.dense_block.2.double_conv.*
    tokenizer.up.k.*                                tokenizer.up.k.convTrans.*
    transformer.(self|cross)_layers.i.              transformer.(self|cross)_attn_layers.i.
        attention.qkv.weight .bias                      (self|cross)_attn.in_proj_weight _bias
        attention.out.*                                 (self|cross)_attn.out_proj.*
        norm1.* norm2.*                                 the same
    dustbin                                         regression_head.phi
    context.*                                       regression_head.cal.*

Official files also hold what their networks never read: `transformer.norm`, counters of batches
and, some of them, running statistics. These are dropped.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from data_scripts.torch_file import read_torch_weights
from data_scripts.weights_file import check_finite, check_weights
from stereo.sttr import CHANNELS, SttrNetwork
from stereo.sttr_trunk import BatchNorm

RULES = (  # applied in turn to a name of ours
    (r"^(tokenizer\..*)layers\.(\d+)\.", lambda m: f"{m[1]}denselayer{int(m[2]) + 1}."),
    (r"^tokenizer\.dense_block\.2\.", "tokenizer.dense_block.2.double_conv."),
    (r"^tokenizer\.up\.(\d+)\.", r"tokenizer.up.\1.convTrans."),
    (r"^transformer\.(self|cross)_layers\.(\d+)\.", r"transformer.\1_attn_layers.\2."),
    (r"\.(self|cross)_attn_layers\.(\d+)\.attention\.", r".\1_attn_layers.\2.\1_attn."),
    (r"_attn\.qkv\.", "_attn.in_proj_"),
    (r"_attn\.out\.", "_attn.out_proj."),
    (r"^dustbin$", "regression_head.phi"),
    (r"^context\.", "regression_head.cal."),
)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
UNUSED = "transformer.norm."


def official_names(network: SttrNetwork) -> dict[str, str]:
    """For every one of our names the official one."""
    return {name: _official_name(name) for name in network.state_dict()}


def to_official(network: SttrNetwork) -> dict[str, Tensor]:
    """The weights as the official code names them, with the unused ones that it asks for."""
    names = official_names(network)
    weights = {names[ours]: value for ours, value in network.state_dict().items()}
    for name, module in network.named_modules():
        if isinstance(module, BatchNorm):
            counter = names[f"{name}.weight"].removesuffix("weight") + "num_batches_tracked"
            weights[counter] = torch.tensor(0)
    like = network.dustbin.detach()
    weights[f"{UNUSED}weight"], weights[f"{UNUSED}bias"] = (
        like.new_ones(CHANNELS),
        like.new_zeros(CHANNELS),
    )
    return weights


def load_official_weights(
    network: SttrNetwork, weights: Mapping[str, Tensor], source: str = "weights"
) -> None:
    """Fills a network with official weights.

    Raises:
        ValueError: a name or shape is not the network's, or a weight is not finite.
    """
    used = {name: value for name, value in weights.items() if not _is_dropped(name)}
    names = official_names(network)
    own = network.state_dict()
    check_weights(source, {names[ours]: value.shape for ours, value in own.items()}, used)
    check_finite(source, used)
    network.load_state_dict({ours: used[name] for ours, name in names.items()}, strict=True)


def is_light(weights: Mapping[str, Tensor], source: str = "weights") -> bool:
    """Whether official weights are those of STTR-light; they say so by their names.

    Raises:
        ValueError: they are of neither network.
    """
    if not any(name.startswith("tokenizer.up.1.") for name in weights):
        names = ", ".join(list(weights)[:3]) or "no weights at all"
        raise ValueError(f"{source} must hold STTR or STTR-light weights, got {names}")
    return not any(name.startswith("tokenizer.up.2.") for name in weights)


def load_official(path: str | Path) -> SttrNetwork:
    """The network of an official .pth.tar file, in eval mode on the CPU.

    Args:
        path: of the file; nothing but tensors and plain values is ever unpickled from it.

    Raises:
        FileNotFoundError: nothing is at `path`.
        ValueError: the file is broken, or of another network.
    """
    weights = read_torch_weights(path)
    network = SttrNetwork(light=is_light(weights, str(path)))
    load_official_weights(network, weights, str(path))
    return network.eval()


def _official_name(name: str) -> str:
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name


def _is_dropped(official: str) -> bool:
    return official.startswith(UNUSED) or official.rsplit(".", 1)[-1] in STATISTICS
