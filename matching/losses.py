"""Losses of the matcher: focal loss on coarse confidences, errors of the fine stage.

Coarse: Lin et al. 2017 as used by LoFTR (Sun et al. 2021, sec. 3.5), alpha 0.25, gamma 2. Fine search:
squared error weighted by the inverse spread of the heat map (LoFTR, same section). Patch regressor:
negative log-likelihood of a Laplace distribution, so that its spread is an expected error.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from matching.refine import REACH, Refined

ALPHA, GAMMA = 0.25, 2.0
CONFIDENCE_FLOOR = 1e-6  # log(1 - p) of a certain match would be infinite
UNLIKELY = 1e-3  # a wrong pair's cost is about p^3: below this a million of them weigh nothing
FAR = 4.0  # errors in cells beyond this count no more


@dataclass(frozen=True)
class FineLoss:
    """Parts of the fine loss and what a person wants to see of it."""

    search: Tensor  # () weighted squared error of the heat map
    regress: Tensor  # () Laplace negative log-likelihood, mean over passes
    median_px: float  # median distance after the last pass, in pixels


def coarse_loss(log_confidence: Tensor, partner: Tensor) -> Tensor:
    """Focal loss of log confidences (B, L, S) against partner cells (B, L), -1 = none.

    Positives are averaged; negatives are summed over all other cell pairs and divided by the number
    of positives, since a mean over millions of certain pairs would make them vanish. Pairs under
    `UNLIKELY` cost nothing, which spares most of the work on the (L, S) matrix.
    """
    pair, cell0 = torch.where(partner >= 0)
    cell1 = partner[pair, cell0]
    positive = log_confidence[pair, cell0, cell1]
    count = max(len(pair), 1)
    gain = -ALPHA * ((1 - positive.exp()) ** GAMMA * positive).sum() / count
    likely = log_confidence.detach() > math.log(UNLIKELY)
    likely[pair, cell0, cell1] = False
    confidence = log_confidence[likely].exp().clamp(max=1 - CONFIDENCE_FLOOR)
    cost = -confidence.square() * torch.log1p(-confidence)
    return gain + (1 - ALPHA) * cost.sum() / count


def fine_loss(found: Refined, target: Tensor, reach: float) -> FineLoss:
    """Loss of N refined matches against their true offsets (N, 2), both in cells of the 1/2 map.

    Targets beyond `reach` cells, the edge of the search window, are left out.
    """
    reachable = (target.abs() < reach).all(-1)
    weight = 1 / found.spread.detach().clamp_min(0.1)
    weight = weight * reachable
    weight = weight / weight.sum().clamp_min(1e-6)
    search = (weight * (found.search - target).square().sum(-1)).sum()

    regress = target.new_zeros(())
    start = found.search.detach()
    for step, log_spread in zip(found.steps, found.log_spread, strict=True):
        error = (step - target).abs().clamp(max=FAR).mean(-1)
        within = ((target - start).abs() < REACH).all(-1) & reachable
        likelihood = error * torch.exp(-log_spread) + log_spread
        regress = regress + (likelihood * within).sum() / within.sum().clamp_min(1)
        start = step.detach()
    last = found.steps[-1] if found.steps else found.search
    distance = 2 * (last.detach() - target).norm(dim=-1)
    median = float(distance.median()) if len(distance) else float("nan")
    return FineLoss(search, regress / max(len(found.steps), 1), median)
