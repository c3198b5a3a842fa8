"""The mechanisms by name."""

from typing import Any

from attention_ops._checks import check_choice
from attention_ops.band import BandQuadtree
from attention_ops.conditional import ConditionalAttention, DetrAttention
from attention_ops.deformable import DeformableAttention, MultiscaleDeformableAttention
from attention_ops.deformed import DeformedAttention
from attention_ops.focal import FocalAttention
from attention_ops.linear import LinearAttention
from attention_ops.mechanism import Kind, Mechanism
from attention_ops.nearest import NearestAttention
from attention_ops.quadtree import QuadtreeAttention
from attention_ops.quadtree_classification import QuadtreeClassification
from attention_ops.rows import RowLinear, RowQuadtree, RowSoftmax
from attention_ops.softmax import SoftmaxAttention
from attention_ops.spatial_reduction import SpatialReductionAttention
from attention_ops.window import WindowAttention

MECHANISMS: dict[str, type[Mechanism]] = {
    "softmax": SoftmaxAttention,
    "linear": LinearAttention,
    "quadtree": QuadtreeAttention,
    "quadtree_classification": QuadtreeClassification,
    "spatial_reduction": SpatialReductionAttention,
    "window": WindowAttention,
    "focal": FocalAttention,
    "nearest": NearestAttention,
    "deformable": DeformableAttention,
    "multiscale_deformable": MultiscaleDeformableAttention,
    "deformed": DeformedAttention,
    "conditional": ConditionalAttention,
    "detr": DetrAttention,
}
# For rectified pairs: both maps must have the same number of rows.
ROW_MECHANISMS: dict[str, type[Mechanism]] = {
    "row_softmax": RowSoftmax,
    "row_linear": RowLinear,
    "row_quadtree": RowQuadtree,
    "band_quadtree": BandQuadtree,
}


def build_attention(name: str, channels: int, heads: int, kind: Kind, **settings: Any) -> Mechanism:
    """A mechanism with fresh weights: `name` is one of MECHANISMS or ROW_MECHANISMS.

    Args:
        name: which mechanism.
        channels: C of both maps and of the message.
        heads: M.
        kind: "self" or "cross".
        settings: the mechanism's own.

    Raises:
        ValueError: no mechanism has that name.
        TypeError: the mechanism has no such setting.
    """
    known = MECHANISMS | ROW_MECHANISMS
    check_choice("name", name, tuple(known))
    return known[name](channels, heads, kind, **settings)
