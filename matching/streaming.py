"""Sums and arg-maxima over the products of two token sets, tile by tile, never the whole matrix.

Works on one pair of plain token sets without masks; `matching.coarse` and `matching.sinkhorn` own
masks, batches and thresholds. Two passes: `log_sum_exps` runs over all tiles and gives the
normaliser of every row and column and the maximum of every row in every column tile; `best_pairs`
visits again only the (row, column tile) combinations that may still hold a match.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Tile = tuple[int, int]  # rows, columns
# A float32 tile of this size stays in the second-level cache between product, exp and sums.
TILE: Tile = (512, 1024)
# On a GPU a tile must fill the device: 32 MB in float32, and half a dozen tiles a million pixels.
GPU_TILE: Tile = (2048, 4096)
# exp(HEADROOM) times the number of terms fits in float32: the range one shift covers is that wide.
HEADROOM = 60.0
# Below this a sum of float32 exponentials has lost terms to underflow that would still count.
SUM_FLOOR = 1e-28


@dataclass(frozen=True)
class Normalisers:
    """Log-sum-exp of every row and column of a product matrix (L, S), and maxima of its tiles."""

    row: Tensor  # (L,) log-sum-exp over columns
    column: Tensor  # (S,) log-sum-exp over rows
    tile_max: Tensor  # (L, P) largest element of each row in each of the P column tiles


@dataclass(frozen=True)
class Pairs:
    """Cells that are each other's best, by rising row number."""

    row: Tensor  # (N,) int64
    column: Tensor  # (N,) int64
    score: Tensor  # (N,)


def suited_tile(tokens: Tensor, tile: Tile | None = None) -> Tile:
    """`tile` as given, or for None one that suits the device of `tokens`."""
    if tile is not None:
        return tile
    return TILE if tokens.device.type == "cpu" else GPU_TILE


def tile_slices(count: int, size: int) -> list[slice]:
    """Consecutive slices of at most `size` that cover range(count)."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def product_tiles(
    tokens0: Tensor, tokens1: Tensor, tile: Tile
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows, columns and products (R, W) of every tile of tokens0 (L, C) @ tokens1 (S, C).T.

    Row tiles outermost, both ascending. The next block takes the place of the last.
    """
    workspace = _workspace(tokens0, tokens1, tile)
    for rows in tile_slices(len(tokens0), tile[0]):
        for columns in tile_slices(len(tokens1), tile[1]):
            yield rows, columns, _product(tokens0[rows], tokens1[columns], workspace)


def recorded(
    tiles: Iterable[tuple[slice, slice, Tensor]], matrix: Tensor
) -> Iterator[tuple[slice, slice, Tensor]]:
    """The same tiles, each copied into `matrix` (L, S) on its way."""
    for rows, columns, block in tiles:
        matrix[rows, columns] = block
        yield rows, columns, block


def log_sum_exps(
    tiles: Iterable[tuple[slice, slice, Tensor]], tokens0: Tensor, tokens1: Tensor, tile: Tile
) -> Normalisers:
    """Normalisers of the products of tokens0 (L, C) and tokens1 (S, C), which `tiles` yields.

    Whatever lives on is allocated before the loop: small pieces kept from every tile would lie
    between the large ones that come and go, and memory would grow to that of the whole matrix.
    """
    L, S = len(tokens0), len(tokens1)
    row = Sums(tokens0.new_full((L,), -torch.inf), tokens0.new_zeros(L))
    column = Sums(tokens0.new_full((S,), -torch.inf), tokens0.new_zeros(S))
    tile_max = tokens0.new_full((L, len(tile_slices(S, tile[1]))), -torch.inf)
    workspace = _workspace(tokens0, tokens1, tile)
    for rows, columns, block in tiles:
        row_max = block.amax(1)
        tile_max[rows, columns.start // tile[1]] = row_max
        row_part, column_part = _tile_sums(block, row_max, workspace)
        row.add(rows, row_part)
        column.add(columns, column_part)
    return Normalisers(row.log(), column.log(), tile_max)


def best_pairs(
    tokens0: Tensor,
    tokens1: Tensor,
    weight: float,
    offsets: tuple[Tensor, Tensor],
    alive: Tensor,
    tile: Tile,
) -> Pairs:
    """Mutual maxima of weight * tokens0 @ tokens1.T - offsets[0][:, None] - offsets[1].

    Row r and column c are a pair when c is the first maximum of row r and r the first maximum of
    column c, among the visited elements. Where few rows of a tile are visited only these are
    multiplied, save in float64: there whole tiles are, as in the first pass, because a matrix
    product rounds differently when its shape differs.

    Args:
        tokens0: (L, C).
        tokens1: (S, C).
        weight: of the product.
        offsets: (L,) and (S,).
        alive: (L, P) bool, the rows to visit in each of the P column tiles.
        tile: the one that the first pass had.
    """
    row = _Best.none(tokens0)
    column = _Best.none(tokens1)
    for rows, columns, block in _alive_tiles(tokens0, tokens1, alive, tile):
        score = weight * block
        score -= offsets[0][rows, None]
        score -= offsets[1][columns]
        everywhere = torch.arange(columns.start, columns.stop, device=rows.device)
        row.improve(rows, score, everywhere)
        column.improve(everywhere, score.mT, rows)
    cells = torch.arange(len(tokens0), device=tokens0.device)
    found = row.index >= 0
    partner = row.index.clamp_min(0)
    if len(tokens1):
        found &= column.index[partner] == cells
    return Pairs(cells[found], partner[found], row.score[found])


class Sums:
    """Running sums of exponentials (P,), each kept as total * exp(shift)."""

    def __init__(self, shift: Tensor, total: Tensor) -> None:
        self.shift, self.total = shift, total

    def add(self, where: slice, part: "Sums") -> None:
        """Adds `part` to the elements `where`."""
        shift = torch.maximum(self.shift[where], part.shift)
        total = self.total[where] * (self.shift[where] - shift).exp()
        self.total[where] = total + part.total * (part.shift - shift).exp()
        self.shift[where] = shift

    def log(self) -> Tensor:
        """Logarithm of every sum."""
        return self.shift + self.total.log()


class _Best:
    """Running maximum (P,) and where it was found, -1 = nowhere yet; ties keep the first."""

    def __init__(self, score: Tensor, index: Tensor) -> None:
        self.score, self.index = score, index

    @staticmethod
    def none(like: Tensor) -> "_Best":
        """Nothing found yet for any of the tokens `like` (P, C)."""
        score = like.new_full((len(like),), -torch.inf)
        return _Best(score, torch.full_like(score, -1, dtype=torch.int64))

    def improve(self, which: Tensor, score: Tensor, names: Tensor) -> None:
        """Sees score (Q, W) of elements `which` (Q,) against candidates called `names` (W,).

        The arg-max is taken only of the elements that improve: it costs several plain maxima.
        """
        top = score.amax(1)
        better = (top > self.score[which]).nonzero().squeeze(1)
        if len(better):
            which = which[better]
            self.score[which] = top[better]
            self.index[which] = names[score[better].argmax(1)]


def _tile_sums(block: Tensor, row_max: Tensor, workspace: Tensor) -> tuple[Sums, Sums]:
    """Sums of exp(block) over columns (R,) and over rows (W,) of block (R, W).

    One exponential with one shift serves both, unless the maxima of the rows or columns lie so far
    apart that the lowest would underflow. Mostly no shift is needed, which saves a subtraction.
    Which holds must be known on the host: off the CPU, where that would wait for every tile, rows and
    columns have their own shifts instead.
    """
    if block.device.type != "cpu":
        return row_sums(block, row_max), row_sums(block.mT, block.amax(0))
    shift = max(float(row_max.amax()) - HEADROOM, 0.0)
    out = workspace[: block.numel()].view_as(block)
    shared = torch.sub(block, shift, out=out).exp_() if shift else torch.exp(block, out=out)
    by_row, by_column = shared.sum(1), shared.sum(0)
    if torch.minimum(by_row.amin(), by_column.amin()) > SUM_FLOOR:
        return (
            Sums(torch.full_like(by_row, shift), by_row),
            Sums(torch.full_like(by_column, shift), by_column),
        )
    return row_sums(block, row_max), row_sums(block.mT, block.amax(0))


def row_sums(block: Tensor, row_max: Tensor) -> Sums:
    """Sums of exp(block) over columns (R,), each with its own shift."""
    return Sums(row_max, (block - row_max[:, None]).exp_().sum(1))


def _alive_tiles(
    tokens0: Tensor, tokens1: Tensor, alive: Tensor, tile: Tile
) -> Iterator[tuple[Tensor, slice, Tensor]]:
    """Row numbers (R,), columns and products (R, W) of what is alive; column tiles outermost."""
    workspace = _workspace(tokens0, tokens1, tile)
    for here, columns in zip(alive.unbind(1), tile_slices(len(tokens1), tile[1]), strict=True):
        rows = here.nonzero().squeeze(1)
        if tokens0.dtype != torch.float64:
            for chunk in tile_slices(len(rows), tile[0]):
                part = rows[chunk]
                yield part, columns, _product(tokens0[part], tokens1[columns], workspace)
            continue
        for whole in tile_slices(len(tokens0), tile[0]):
            part = rows[(rows >= whole.start) & (rows < whole.stop)]
            if len(part):
                block = _product(tokens0[whole], tokens1[columns], workspace)
                yield part, columns, block[part - whole.start]


def _workspace(tokens0: Tensor, tokens1: Tensor, tile: Tile) -> Tensor:
    """Room for the largest tile; a fresh one per tile would be paged in each time."""
    return tokens0.new_empty(min(tile[0], len(tokens0)) * min(tile[1], len(tokens1)))


def _product(rows: Tensor, columns: Tensor, workspace: Tensor) -> Tensor:
    """Products (R, W) of rows (R, C) and columns (W, C), held in `workspace`."""
    out = workspace[: len(rows) * len(columns)].view(len(rows), len(columns))
    return torch.mm(rows, columns.mT, out=out)
