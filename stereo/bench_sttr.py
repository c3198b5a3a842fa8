"""What QuadTree attention saves inside STTR: `python -m stereo bench --sttr-cost`.

The same network twice, fresh weights: STTR's own layers (Li et al., ICCV 2021), and the same with
QuadTree attention along rows in all layers but the last, whose dense logits the transport needs
(Tang et al., ICLR 2022, sec. 4.2). FLOPs are those of matrix products, memory is the peak of what a
call holds; for training, a call is one forward and backward pass. The transformer alone, whose rows do
not see each other, and the whole network, which wants 128 rows of pixels or more.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from attention_ops.cost import flops, peak_memory
from attention_ops.rows import RowQuadtree
from stereo.sttr import CHANNELS, SttrNetwork
from stereo.sttr_rows import RowTransformer

HEADS, LAYERS = 8, 6  # STTR's
TOPK, FAN_OUT = (8, 8, 8), 2


class QuadtreeLines(nn.Module):
    """QuadTree attention as a layer of `RowTransformer`; relative positions are its rotations."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = RowQuadtree(CHANNELS, HEADS, "cross", topk=TOPK, fan_out=FAN_OUT)

    def forward(self, tokens: Tensor, source: Tensor, table: Tensor) -> Tensor:  # noqa: ARG002  part of the contract
        """Messages (R, W, C) to the rows of `tokens` from those of `source`."""
        rows, columns = (side.permute(2, 0, 1)[None] for side in (tokens, source))  # (1, C, R, W)
        message: Tensor = self.attention(rows, columns)
        return message[0].permute(1, 2, 0)


def sttr_with_quadtree() -> SttrNetwork:
    """STTR with QuadTree attention in all layers but the last; its last layer and the rest stay."""
    network = SttrNetwork(layers=LAYERS)
    last = network.transformer.cross_layers[-1].attention
    network.transformer = RowTransformer(CHANNELS, QuadtreeLines, LAYERS, last)  # type: ignore[arg-type]
    return network


def print_sttr_cost(say: Callable[[str], None], size: tuple[int, int]) -> None:
    """Prints FLOPs and peak memory of both transformers; trunk, transport and context are the same.

    Args:
        say: prints a line.
        size: H, W of the pair in pixels. Rows do not see each other, so a strip tells the ratios.
    """
    networks = {"sttr": SttrNetwork(layers=LAYERS), "sttr, quadtree": sttr_with_quadtree()}
    say(f"\ntransformer of {size[1]} x {size[0]} pixels, forward")
    with torch.no_grad():
        _print_pair(say, {name: _attend(x, size, training=False) for name, x in networks.items()})
    say(f"\ntransformer of {size[1]} x {size[0]} pixels, forward and backward")
    _print_pair(say, {name: _attend(x, size, training=True) for name, x in networks.items()})


def print_whole_cost(say: Callable[[str], None], size: tuple[int, int], training: bool) -> None:
    """Prints FLOPs and peak memory of both networks from two images to disparity and occlusion.

    Args:
        say: prints a line.
        size: H, W of the pair in pixels, 128 or more each.
        training: a backward pass as well; BatchNorm takes the statistics of the pair in both.
    """
    networks = {"sttr": SttrNetwork(layers=LAYERS), "sttr, quadtree": sttr_with_quadtree()}
    passes = "forward and backward" if training else "forward"
    say(f"\nwhole network, {size[1]} x {size[0]} pixels, {passes}")
    _print_pair(say, {name: _answer(x, size, training) for name, x in networks.items()})


def _answer(network: SttrNetwork, size: tuple[int, int], training: bool) -> Callable[[], object]:
    """A random pair through the whole network, and the gradients of the sum of what comes out."""
    left, right = torch.rand(2, 1, 3, *size).unbind(0)

    def run() -> None:
        with torch.set_grad_enabled(training):
            output = network(left, right)
        if training:
            (output.disparity.sum() + output.occlusion.sum()).backward()
            network.zero_grad()

    return run


def _attend(network: SttrNetwork, size: tuple[int, int], training: bool) -> Callable[[], object]:
    """All layers of the transformer on random tokens, and the gradients of their sum."""
    H, W = (-(-side // network.stride) for side in size)
    left, right = torch.rand(2, H, W, CHANNELS, requires_grad=training).unbind(0)
    table = torch.rand(2 * W - 1, CHANNELS)

    def run() -> None:
        query, source = network.transformer(left, right, table)
        if training:
            (query.sum() + source.sum()).backward()
            network.zero_grad()

    return run


def _print_pair(say: Callable[[str], None], calls: dict[str, Callable[[], object]]) -> None:
    costs = {name: (flops(call), peak_memory(call)) for name, call in calls.items()}
    own: Sequence[int] = next(iter(costs.values()))
    for name, (count, memory) in costs.items():
        say(
            f"  {name:16s}{count / 1e9:8.4g} GFLOP, {count / own[0]:4.0%} of sttr"
            f"{memory / 1e6:8.0f} MB at the peak, {memory / own[1]:4.0%}"
        )
