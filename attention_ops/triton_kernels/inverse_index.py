"""Who selected a parent: the index of the fine level turned round.

Listing the blocks of queries that look at each parent lets one program sum a parent's gradients
in a fixed order, where adding from many programs at once sums in the order of their arrival.
"""

import torch
from torch import Tensor


def invert(parent_index: Tensor, R: int) -> tuple[Tensor, Tensor]:
    """The places of `parent_index` that hold each parent, in ascending order.

    Args:
        parent_index: (B, M, P, K) int32 in [0, R), -1 = none.
        R: parents of a slab, of which there are B * M.

    Returns:
        entry (B * M * P * K,) int64, places in the flattened index sorted by what they hold;
        first (B * M * R + 1,) int64: parent r of slab s has the entries from first[s * R + r] to
        first[s * R + r + 1]. Places that hold -1 come after all of these.
    """
    B, M = parent_index.shape[:2]
    slab = torch.arange(B * M, device=parent_index.device).view(B, M, 1, 1)
    parent = torch.where(parent_index < 0, B * M * R, parent_index + slab * R).flatten()
    ordered, entry = parent.sort(stable=True)
    bounds = torch.arange(B * M * R + 1, device=parent_index.device)
    return entry, torch.searchsorted(ordered, bounds)
