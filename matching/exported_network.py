"""A matcher whose answer has a fixed size: what `export --onnx` and `torch.export` write into files.

The stages are those of `Matcher`; only coarse matching goes by way of the whole score matrix, because the
tiles of `matching.streaming` branch on values. Tensors in, tensors out; knows nothing of files.
"""

import torch
from torch import Tensor, nn

from matching.model import FINE_STRIDE, STRIDE, Features, Matcher
from matching.token_sets import scaled_tokens

# Score of a masked cell, added to a few others: stays finite.
LOWEST = torch.finfo(torch.float32).min / 8


class FixedCountMatcher(nn.Module):
    """The N surest matches of each pair, padded with zeros; a module that can be traced.

    Args:
        matcher: by dual softmax; it is used as it is, so put it into eval mode.
        max_matches: N.

    Raises:
        ValueError: another kind of matching, or N below 1.
    """

    def __init__(self, matcher: Matcher, max_matches: int) -> None:
        super().__init__()
        if matcher.dustbin is not None:
            raise ValueError(
                "wanted a matcher by dual softmax, got one by optimal transport, which cannot be "
                "exported; choose other weights"
            )
        if max_matches < 1:
            raise ValueError(f"max_matches must be 1 or more, got {max_matches}")
        self.matcher = matcher
        self.max_matches = max_matches

    def forward(
        self,
        image0: Tensor,
        image1: Tensor,
        mask0: Tensor | None = None,
        mask1: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Matches a batch of pairs.

        Args:
            image0: (B, 1, H0, W0) grey in [0, 1], sides multiples of the matcher's `size_multiple`.
            image1: (B, 1, H1, W1).
            mask0: (B, H0, W0) bool, True = use; None = all.
            mask1: (B, H1, W1).

        Returns:
            Key points of both images (B, N, 2), x and y in pixels of the network's images with the centre
            of the top-left one at (0, 0); confidence (B, N), best first; the number of matches (B,) int64.
            Rows from that number on are 0.
        """
        features0, features1 = (
            self.matcher.extract(image, mask) for image, mask in ((image0, mask0), (image1, mask1))
        )
        tokens0, tokens1 = self.matcher.coarse_tokens(features0, features1)
        confidence, partner = self._coarse(tokens0, tokens1, features0, features1)
        N = min(self.max_matches, confidence.shape[1])
        confidence, cell0 = (found[:, :N] for found in _sorted(confidence))
        cell1 = partner.gather(1, cell0)
        grids = _cell_xy(cell0, features0), _cell_xy(cell1, features1)
        moved = self._refined((features0, features1), (tokens0, tokens1), (cell0, cell1), grids)
        middle = self.matcher.cell_centre
        kpts0 = grids[0] * STRIDE + middle
        kpts1 = grids[1] * STRIDE + middle + moved
        keep = (confidence > 0) & _usable(kpts0, image0, mask0) & _usable(kpts1, image1, mask1)
        return self._compact(kpts0, kpts1, confidence, keep)

    def _coarse(
        self, tokens0: Tensor, tokens1: Tensor, features0: Features, features1: Features
    ) -> tuple[Tensor, Tensor]:
        """Confidence (B, L) of the cells of image 0, 0 where there is no match, and their partners.

        The rule of `matching.mutual.mutual_matches` on the log confidence of `matching.dual_softmax`.
        """
        mask0, mask1 = (
            None if f.mask is None else f.mask.flatten(1) for f in (features0, features1)
        )
        tokens0, scale = self.matcher.scaled(tokens0)
        tokens1, _ = self.matcher.scaled(tokens1)
        tokens0, tokens1 = scaled_tokens(tokens0, tokens1, scale, mask0, mask1)
        score = tokens0 @ tokens1.mT  # (B, L, S)
        hidden = _hidden(mask0, mask1)
        if hidden is not None:
            score = score.masked_fill(hidden, LOWEST)
        score = 2 * score - score.logsumexp(2, keepdim=True) - score.logsumexp(1, keepdim=True)
        if hidden is not None:
            score = score.masked_fill(hidden, LOWEST)
        partner, back = score.argmax(2), score.argmax(1)
        is_mutual = back.gather(1, partner) == torch.arange(score.shape[1], device=score.device)
        confidence = score.amax(2).exp()
        keep = is_mutual & (confidence > self.matcher.threshold)
        keep = keep & self._allowed(features0) & self._allowed(features1).gather(1, partner)
        return confidence * keep, partner

    def _allowed(self, features: Features) -> Tensor:
        """Cells (B, L) that may match, as `matching.coarse.border_allowed` has it."""
        B, _, H, W = features.coarse.shape
        mask = features.mask
        if mask is None:
            mask = torch.ones(B, H, W, dtype=torch.bool, device=features.coarse.device)
        if self.matcher.border:
            rows, columns = (_inner(mask.any(dim), self.matcher.border) for dim in (2, 1))
            mask = mask & rows[:, :, None] & columns[:, None]
        return mask.flatten(1)

    def _refined(
        self,
        features: tuple[Features, Features],
        tokens: tuple[Tensor, Tensor],
        cells: tuple[Tensor, Tensor],
        grids: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Offset (B, N, 2) in px of the ends in image 1."""
        B, N = cells[0].shape
        pair = torch.arange(B, device=cells[0].device)[:, None].expand(B, N).flatten()
        matched = [
            side.gather(1, cell[..., None].expand(B, N, side.shape[-1])).flatten(0, 1)
            for side, cell in zip(tokens, cells, strict=True)
        ]
        corners = [grid.flatten(0, 1) * (STRIDE // FINE_STRIDE) for grid in grids]
        found = self.matcher.fine(
            (features[0].fine.float(), features[1].fine.float()),
            (matched[0].float(), matched[1].float()),
            pair,
            (corners[0], corners[1]),
        )
        offset: Tensor = found.steps[-1] if found.steps else found.search
        return FINE_STRIDE * offset.unflatten(0, (B, N))

    def _compact(
        self, kpts0: Tensor, kpts1: Tensor, confidence: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The rows to keep (B, N) moved to the front in their order, zeros behind."""
        B, N = keep.shape
        rank = torch.where(keep, N - torch.arange(N, device=keep.device), 0)
        rank, order = rank.topk(N)
        kept = rank > 0
        both = order[..., None].expand(B, N, 2)
        return (
            kpts0.gather(1, both) * kept[..., None],
            kpts1.gather(1, both) * kept[..., None],
            confidence.gather(1, order) * kept,
            kept.sum(1),
        )


def _sorted(confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence (B, L), best first and of equals the lower cell, and the cells."""
    values, cells = confidence.sort(dim=1, descending=True, stable=True)
    return values, cells


def _hidden(mask0: Tensor | None, mask1: Tensor | None) -> Tensor | None:
    """Where scores (B, L, S) are of a masked cell; None if nowhere."""
    if mask0 is None or mask1 is None:
        return None
    return ~(mask0[:, :, None] & mask1[:, None])


def _inner(occupied: Tensor, border: int) -> Tensor:
    """Places of occupied (B, P) at least `border` after its first True and before its last."""
    P = occupied.shape[1]
    place = torch.arange(P, device=occupied.device)
    first = occupied.int().argmax(1, keepdim=True)
    last = P - 1 - occupied.int().flip(1).argmax(1, keepdim=True)
    return (place - first >= border) & (last - place >= border)


def _cell_xy(cell: Tensor, features: Features) -> Tensor:
    """Column and row (B, N, 2) of row-major cells (B, N)."""
    width = features.coarse.shape[-1]
    return torch.stack([cell % width, torch.div(cell, width, rounding_mode="floor")], -1)


def _usable(kpts: Tensor, image: Tensor, mask: Tensor | None) -> Tensor:
    """Which points (B, N, 2) lie in the image and on used pixels, as `matching.resize.usable` has it."""
    H, W = image.shape[-2:]
    x, y = kpts.unbind(-1)
    inside = (x >= 0) & (x <= W - 1) & (y >= 0) & (y <= H - 1)
    if mask is None:
        return inside
    flat = mask.flatten(1)
    for column in (x.floor(), x.ceil()):
        for row in (y.floor(), y.ceil()):
            place = row.clamp(0, H - 1).long() * W + column.clamp(0, W - 1).long()
            inside = inside & flat.gather(1, place)
    return inside
