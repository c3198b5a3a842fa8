"""One training step's loss: forward over a batch, coarse and fine supervision, and what to report."""

from dataclasses import dataclass

import torch
from torch import Tensor

from matching.coarse import log_dual_softmax
from matching.data import Batch
from matching.losses import coarse_loss, fine_loss
from matching.model import FINE_STRIDE, STRIDE, Matcher

MATCHES_PER_PAIR = 160  # matches refined per pair in training, unless told otherwise
STRAY_SHARE = 0.3  # share of them that start from a neighbour of the true cell
ORIGIN_RANGE = 96.0  # the position encoding starts anywhere in this many cells, so that it holds
# on images larger than those trained on


@dataclass(frozen=True)
class StepReport:
    """Numbers of one step."""

    loss: float
    recall: float  # share of true cell matches that are mutual best
    precision: float  # share of matches above the threshold whose cell is right to one cell
    fine_px: float  # median error of the fine stage from true or neighbouring cells


def step_loss(
    matcher: Matcher,
    batch: Batch,
    generator: torch.Generator,
    matches_per_pair: int = MATCHES_PER_PAIR,
) -> tuple[Tensor, StepReport]:
    """Loss () with its graph, and the report, of one batch."""
    origins = torch.rand(2, 2, generator=generator) * ORIGIN_RANGE * matcher.training + 1
    features0 = matcher.extract(batch.image0, origin=tuple(origins[0].tolist()))
    features1 = matcher.extract(batch.image1, origin=tuple(origins[1].tolist()))
    tokens0, tokens1 = matcher.coarse_tokens(features0, features1)
    unit0, scale = matcher.scaled(tokens0)
    unit1, _ = matcher.scaled(tokens1)
    log_confidence = log_dual_softmax(unit0, unit1, scale, None, None)
    coarse = coarse_loss(log_confidence, batch.partner)

    columns0 = features0.coarse.shape[-1]
    rows1, columns1 = features1.coarse.shape[-2:]
    pair, cell0 = _some_matches(batch.partner, matches_per_pair, generator)
    cell1 = _strayed(batch.partner[pair, cell0], rows1, columns1, generator)
    xy0, xy1 = _xy(cell0, columns0), _xy(cell1, columns1)
    per_cell = STRIDE // FINE_STRIDE
    with torch.autocast(tokens0.device.type, enabled=False):  # in float32, as `Matcher` runs it
        found = matcher.fine(
            (features0.fine.float(), features1.fine.float()),
            (tokens0[pair, cell0].float(), tokens1[pair, cell1].float()),
            pair,
            (xy0 * per_cell, xy1 * per_cell),
        )
    centre1 = xy1 * STRIDE + matcher.cell_centre
    target = (batch.target[pair, cell0] - centre1) / FINE_STRIDE
    fine = fine_loss(found, target, reach=(matcher.fine.window - 1) / 2)
    loss = 4 * coarse + 0.5 * fine.search + 3 * fine.regress
    recall, precision = _scores(log_confidence.detach(), batch.partner, matcher.threshold, columns1)
    return loss, StepReport(float(loss.detach()), recall, precision, fine.median_px)


def _some_matches(
    partner: Tensor, per_pair: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Pair and cell of image 0 of a random selection of the true matches (B, L)."""
    pair, cell0 = torch.where(partner >= 0)
    most = per_pair * len(partner)
    chosen = torch.randperm(len(pair), generator=generator)[:most].to(pair.device)
    return pair[chosen], cell0[chosen]


def _strayed(cell: Tensor, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Cells (N,), some replaced by a neighbour, as the coarse stage will err."""
    xy = _xy(cell, columns)
    step = torch.randint(-1, 2, xy.shape, generator=generator).to(cell.device)
    stray = torch.rand(len(cell), 1, generator=generator).to(cell.device) < STRAY_SHARE
    limit = torch.tensor([columns - 1, rows - 1], device=cell.device)
    x, y = (xy + step * stray).clamp_min(0).minimum(limit).unbind(-1)
    return y * columns + x


def _xy(cell: Tensor, columns: int) -> Tensor:
    """Column and row (N, 2) of cell numbers (N,)."""
    return torch.stack([cell % columns, cell // columns], -1)


def _scores(
    log_confidence: Tensor, partner: Tensor, threshold: float, columns: int
) -> tuple[float, float]:
    """Recall and precision of mutual best matches of (B, L, S) against partners (B, L)."""
    best, cell1 = log_confidence.max(-1)
    back = log_confidence.argmax(-2)
    cells = torch.arange(partner.shape[1], device=partner.device)
    mutual = back.gather(1, cell1) == cells
    true = partner >= 0
    recall = (mutual & (cell1 == partner))[true].float().mean()
    claimed = mutual & (best.exp() > threshold)
    away = (_xy(cell1, columns) - _xy(partner, columns)).abs().amax(-1)
    precision = (true & (away <= 1))[claimed].float().mean()
    return float(recall), float(precision)
