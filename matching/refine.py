"""Fine stage of the `small` preset: search in a window, then regress from patch correlations.

Points of image 0 stay at the middle of their coarse cell; their partners in image 1 are moved twice:
first to the expectation of a heat map over a window (as LoFTR, Sun et al. 2021, sec. 3.4), then by a
small network that reads how a patch round the point correlates with a patch round the estimate. The
correlations say how the two patches lie to each other whatever they show (Teed and Deng 2020, sec. 3.2).
Works in cells of the 1/2 maps; knows nothing of images or coarse matching.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CELL_PX = 2  # pixels of a cell of the 1/2 map
CHUNK = 8192  # matches refined at once at inference: bounds memory
TEMPLATE = 4  # side of the patch of image 0 that is compared, in cells
PATCH = 6  # side of the patch of image 1
REACH = 2.0  # farthest step of the regressor in cells
MIN_LOG_SPREAD, MAX_LOG_SPREAD = -4.0, 3.0  # keeps exp() and its gradient in range


@dataclass(frozen=True)
class Refined:
    """Offsets of N matches from the middle of their cell of image 1, in cells of the 1/2 map."""

    search: Tensor  # (N, 2) x, y after the heat map
    spread: Tensor  # (N,) standard deviation of the heat map
    steps: tuple[Tensor, ...]  # (N, 2) after each pass of the regressor; the last is the answer
    log_spread: tuple[Tensor, ...]  # (N,) log of the expected error after each pass


class PatchRefiner(nn.Module):
    """Moves matched points to sub-pixel positions.

    Args:
        coarse_channels: channels C of the coarse tokens.
        fine_channels: channels D of the 1/2 maps.
        window: side of the search window in cells; even, because a coarse cell is 4 x 4 cells.
        iterations: passes of the patch regressor. Each goes too little of the way where an image is
            blurred, towards the middle of the cell, so that a few more than are trained pay.
    """

    def __init__(
        self, coarse_channels: int, fine_channels: int, window: int = 8, iterations: int = 4
    ) -> None:
        super().__init__()
        self.window = window
        self.iterations = iterations
        self.context = nn.Linear(coarse_channels, fine_channels)
        self.merge = nn.Sequential(
            nn.Linear(2 * fine_channels, 2 * fine_channels),
            nn.ReLU(inplace=True),
            nn.Linear(2 * fine_channels, fine_channels),
        )
        self.regress = patch_regressor()
        self.sharpness = nn.Parameter(torch.tensor(4.0))  # correlations in [-1, 1] times this

    def forward(
        self,
        fine: tuple[Tensor, Tensor],
        tokens: tuple[Tensor, Tensor],
        pair: Tensor,
        corners: tuple[Tensor, Tensor],
    ) -> Refined:
        """Refines N matches.

        Args:
            fine: 1/2 maps of both images, (B, D, H, W) each.
            tokens: coarse tokens of both ends of each match, (N, C) each.
            pair: number in the batch of each match (N,).
            corners: x, y in the 1/2 map of the top-left cell of each end's coarse cell, (N, 2) each.
        """
        maps = _padded(fine[0]), _padded(fine[1])
        search, spread = self._search(maps, tokens, pair, corners)
        template = F.normalize(self._cells(maps[0], pair, corners[0], TEMPLATE), dim=-1)
        offset, steps, log_spreads = search, [], []
        for _ in range(self.iterations):
            patch = self._sample(maps[1], pair, corners[1] + offset.detach())
            correlation = torch.einsum("npd,nqd->npq", template, F.normalize(patch, dim=-1))
            step, log_spread = step_of(self.regress, self.sharpness * correlation)
            offset = offset.detach() + step
            steps.append(offset)
            log_spreads.append(log_spread)
        return Refined(search, spread, tuple(steps), tuple(log_spreads))

    @torch.no_grad()
    def offsets(
        self,
        fine: tuple[Tensor, Tensor],
        tokens: tuple[Tensor, Tensor],
        pair: Tensor,
        corners: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Offset (N, 2) from the middle of the cell of image 1 and expected error (N,), in px."""
        found = list(in_parts(self, CHUNK, fine, tokens, pair, corners))
        offset = torch.cat([part.steps[-1].float() for part in found])
        spread = torch.cat([part.log_spread[-1].float().exp() for part in found])
        return CELL_PX * offset, CELL_PX * spread

    def _search(
        self,
        maps: tuple[Tensor, Tensor],
        tokens: tuple[Tensor, Tensor],
        pair: Tensor,
        corners: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Expectation (N, 2) and standard deviation (N,) of the heat map over the window."""
        middle = self._cells(maps[0], pair, corners[0], 2).mean(1, keepdim=True)
        query = self._merged(middle, tokens[0])
        keys = self._merged(self._cells(maps[1], pair, corners[1], self.window), tokens[1])
        heat = torch.einsum("nqd,nkd->nk", query, keys) / query.shape[-1] ** 0.5
        heat = heat.float().softmax(-1)
        grid = _grid(self.window, heat)
        mean = heat @ grid
        variance = (heat @ grid.square() - mean.square()).clamp_min(1e-10).sum(-1)
        return mean, variance.sqrt()

    def _merged(self, cells: Tensor, tokens: Tensor) -> Tensor:
        """Fine features (N, P, D) with the context of their coarse token (N, C)."""
        context = self.context(tokens)[:, None].expand(-1, cells.shape[1], -1)
        return cells + self.merge(torch.cat([cells, context], -1))

    def _cells(self, fine: Tensor, pair: Tensor, corner: Tensor, side: int) -> Tensor:
        """Square of `side` cells round the middle of each coarse cell: (N, side * side, D)."""
        start = corner.long() + (4 - side) // 2 + MARGIN
        steps = torch.arange(side, device=fine.device)
        rows = start[:, 1, None, None] + steps[:, None]
        columns = start[:, 0, None, None] + steps
        return _take(fine, pair, rows, columns).flatten(1, 2)

    def _sample(self, fine: Tensor, pair: Tensor, corner: Tensor) -> Tensor:
        """Bilinear patch (N, PATCH * PATCH, D) round the moved middle of each coarse cell."""
        H, W = fine.shape[1:3]
        x, y = (corner + (4 - PATCH) // 2 + MARGIN).unbind(1)
        start = torch.stack([x.clamp(0, W - PATCH - 2), y.clamp(0, H - PATCH - 2)], 1)
        base = start.floor()
        steps = torch.arange(PATCH + 1, device=fine.device)
        rows = base[:, 1, None, None].long() + steps[:, None]
        columns = base[:, 0, None, None].long() + steps
        cells = _take(fine, pair, rows, columns)  # (N, PATCH + 1, PATCH + 1, D)
        x, y = (start - base).to(fine.dtype)[:, :, None, None, None].unbind(1)
        cells = cells[:, :, :-1] * (1 - x) + cells[:, :, 1:] * x
        cells = cells[:, :-1] * (1 - y) + cells[:, 1:] * y
        return cells.flatten(1, 2)


def patch_regressor() -> nn.Sequential:
    """A fresh network from correlations of two patches (..., TEMPLATE^2 * PATCH^2) to what `step_of` reads."""
    return nn.Sequential(
        nn.Linear(TEMPLATE**2 * PATCH**2, 128),
        nn.ReLU(inplace=True),
        nn.Linear(128, 64),
        nn.ReLU(inplace=True),
        nn.Linear(64, 3),
    )


def step_of(regress: nn.Module, correlation: Tensor) -> tuple[Tensor, Tensor]:
    """Step x, y (..., 2) in cells and the log (...) of its expected error, from (..., TEMPLATE^2, PATCH^2)."""
    moved = regress(correlation.flatten(-2))
    log_spread = moved[..., 2].clamp(MIN_LOG_SPREAD, MAX_LOG_SPREAD)
    return REACH * torch.tanh(moved[..., :2]), log_spread


def in_parts(
    refine: Callable[..., Refined],
    size: int,
    fine: tuple[Tensor, Tensor],
    tokens: tuple[Tensor, Tensor],
    pair: Tensor,
    corners: tuple[Tensor, Tensor],
) -> Iterator[Refined]:
    """What a fine stage gives of `size` matches at a time, at least once; the rest is what it takes."""
    for part in torch.arange(len(pair), device=pair.device).split(size):
        ends = [(side0[part], side1[part]) for side0, side1 in (tokens, corners)]
        yield refine(fine, ends[0], pair[part], ends[1])


MARGIN = 8  # cells of zeros round the 1/2 map, so that windows at the edge need no special case


def _padded(fine: Tensor) -> Tensor:
    """(B, D, H, W) -> (B, H + 2 MARGIN, W + 2 MARGIN, D) with zeros round it."""
    return F.pad(fine.permute(0, 2, 3, 1), (0, 0, MARGIN, MARGIN, MARGIN, MARGIN))


def _take(fine: Tensor, pair: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Cells (N, P, Q, D) of `fine` (B, H, W, D) at rows (N, P, 1) and columns (N, 1, Q)."""
    _, H, W, D = fine.shape
    number = (pair[:, None, None] * H + rows) * W + columns
    return fine.reshape(-1, D).index_select(0, number.flatten()).view(*number.shape, D)


def _grid(side: int, like: Tensor) -> Tensor:
    """Positions x, y (side * side, 2) of the cells of a window from its middle."""
    steps = torch.arange(side, device=like.device, dtype=like.dtype) - (side - 1) / 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], -1)
