"""Attention between the cells of two maps, mechanism by mechanism, and the sparse ops below.

`build_attention("quadtree", channels=64, heads=4, kind="cross")` gives a module;
`coarse_attention` and `fine_attention` are the ops; `backends()` says who computes them.
"""

from attention_ops.backends import backends, current_backend, use_backend
from attention_ops.conditional import ConditionalAttention, DetrAttention
from attention_ops.cost import flops, peak_memory
from attention_ops.deformable import DeformableAttention
from attention_ops.functional import TopKMessage, coarse_attention, fine_attention
from attention_ops.linear import LinearAttention, linear_attention
from attention_ops.mechanism import Mechanism
from attention_ops.mechanism_cost import MechanismCost, analytic_flops, mechanism_cost
from attention_ops.position import sine_encoding
from attention_ops.quadtree import QuadtreeAttention, VisitedCells
from attention_ops.reference_points import PointedMechanism, own_points, point_encoding
from attention_ops.registry import MECHANISMS, ROW_MECHANISMS, build_attention
from attention_ops.sampling import sample_weighted
from attention_ops.softmax import SoftmaxAttention, softmax_attention
from attention_ops.two_view import LoftrLayer, QuadtreeBlock, TwoViewTransformer

__all__ = [
    "MECHANISMS",
    "ROW_MECHANISMS",
    "ConditionalAttention",
    "DeformableAttention",
    "DetrAttention",
    "LinearAttention",
    "LoftrLayer",
    "Mechanism",
    "MechanismCost",
    "PointedMechanism",
    "QuadtreeAttention",
    "QuadtreeBlock",
    "SoftmaxAttention",
    "TopKMessage",
    "TwoViewTransformer",
    "VisitedCells",
    "analytic_flops",
    "backends",
    "build_attention",
    "coarse_attention",
    "current_backend",
    "fine_attention",
    "flops",
    "linear_attention",
    "mechanism_cost",
    "own_points",
    "peak_memory",
    "point_encoding",
    "sample_weighted",
    "sine_encoding",
    "softmax_attention",
    "use_backend",
]
