"""Disparity, raw occlusion and confidence of each left column from its assignment along the row.

No ground truth comes in here: the official evaluation lets the true occlusion into this step, and
thereby into the prediction that it scores; see `regress_rows`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

WINDOW = 1  # columns on either side of the best match
WEAK_MASS = 0.1  # below it STTR takes the mass for 1
MASS_FLOOR = 1e-6  # an assignment all to the dustbin would divide by zero


@dataclass(frozen=True)
class RowDisparity:
    """What the assignment says of each left column, in columns of the tokens."""

    disparity: Tensor  # (R, L) in columns, 0 or more
    occlusion: Tensor  # (R, L) in [0, 1], before any context: what the window does not hold
    mass: Tensor  # (R, L) in [0, 1], the assignment inside the window: the confidence


def regress_rows(
    assignment: Tensor, window: int = WINDOW, weak_mass_is_one: bool = False
) -> RowDisparity:
    """Expected disparity within a window round the best match (Li et al. 2021, eq. 6 and 7).

    With P the assignment without dustbins, k the best right column of left column i and the
    window W = k - window .. k + window: mass n = sum of P[i, j] over j in W, disparity = sum of
    P[i, j] max(i - j, 0) / n, occlusion = 1 - n.

    Args:
        assignment: (R, L + 1, S + 1), dustbins last, as of `stereo.transport.sinkhorn`.
        window: columns on either side of the best match that count.
        weak_mass_is_one: STTR's quirk, which its context layer was trained with: where n < 0.1,
            n is set to 1, hence a disparity near 0 and an occlusion of 0. (Its evaluation instead
            sets n to 1 wherever the ground truth says occluded. That is left out.) The mass that is
            returned is the true one.
    """
    if window < 0:
        raise ValueError(f"window must be 0 or more columns, got {window}")
    pairs = assignment[:, :-1, :-1]
    _, L, S = pairs.shape
    offset = torch.arange(-window, window + 1, device=pairs.device)
    column = pairs.detach().argmax(2, keepdim=True) + offset  # (R, L, 2 * window + 1)
    inside = (column >= 0) & (column < S)
    share = pairs.gather(2, column.clamp(0, S - 1)) * inside
    shift = (torch.arange(L, device=pairs.device)[:, None] - column).clamp_min(0)
    mass = share.sum(2)
    norm = mass.masked_fill(mass < WEAK_MASS, 1.0) if weak_mass_is_one else mass
    disparity = (share * shift).sum(2) / norm.clamp_min(MASS_FLOOR)
    return RowDisparity(disparity, 1 - norm, mass)
