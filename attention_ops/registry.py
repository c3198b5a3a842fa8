"""The mechanisms by name."""

from typing import Any

from attention_ops._checks import check_choice
from attention_ops.band import BandQuadtree
from attention_ops.linear import LinearAttention
from attention_ops.mechanism import Kind, Mechanism
from attention_ops.quadtree import QuadtreeAttention
from attention_ops.rows import RowLinear, RowQuadtree, RowSoftmax
from attention_ops.softmax import SoftmaxAttention

MECHANISMS: dict[str, type[Mechanism]] = {
    "softmax": SoftmaxAttention,
    "linear": LinearAttention,
    "quadtree": QuadtreeAttention,
    "band_quadtree": BandQuadtree,
    "row_softmax": RowSoftmax,
    "row_linear": RowLinear,
    "row_quadtree": RowQuadtree,
}


def build_attention(name: str, channels: int, heads: int, kind: Kind, **settings: Any) -> Mechanism:
    """A mechanism with fresh weights: `name` is one of MECHANISMS, `settings` are its own.

    Raises:
        ValueError: no mechanism has that name.
        TypeError: the mechanism has no such setting.
    """
    check_choice("name", name, tuple(MECHANISMS))
    return MECHANISMS[name](channels, heads, kind, **settings)
