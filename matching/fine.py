"""Fine stage of LoFTR: where in a window of image 1 the middle of a window of image 0 lies.

Windows of the 1/2 maps are cut out round each coarse match, given the coarse tokens as context,
passed through a small two-view transformer, and the middle token of image 0 is correlated with the
window of image 1 (Sun et al. 2021, sec. 3.4). Knows nothing of images or of coarse matching.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_ops import LoftrLayer, TwoViewTransformer, build_attention
from attention_ops.mechanism import Kind
from matching.refine import CELL_PX, Refined, in_parts

CHUNK = 512  # matches refined at once at inference: 80 MB with 25 cells of 128 channels
VARIANCE_FLOOR = 1e-10  # in half windows squared, as in LoFTR; the root of 0 has no gradient


class LoftrFine(nn.Module):
    """Moves the end in image 1 of coarse matches to the expectation of a heat map.

    The point of image 0 stays where it is: on the top-left pixel of its coarse cell.

    Args:
        channels_coarse: channels C of the coarse tokens.
        channels_fine: channels D of the 1/2 maps.
        window: side of the windows in cells of the 1/2 maps, odd.
        heads: of the transformer.
        layers: "self" or "cross" for each of its layers.
    """

    def __init__(
        self,
        channels_coarse: int,
        channels_fine: int,
        window: int = 5,
        heads: int = 8,
        layers: Sequence[Kind] = ("self", "cross"),
    ) -> None:
        super().__init__()
        if window < 3 or window % 2 == 0:
            raise ValueError(f"window must be odd and at least 3 cells, got {window}")
        self.window = window
        self.down_proj = nn.Linear(channels_coarse, channels_fine)
        self.merge_feat = nn.Linear(2 * channels_fine, channels_fine)
        for linear in (self.down_proj, self.merge_feat):
            nn.init.kaiming_normal_(linear.weight, mode="fan_out", nonlinearity="relu")
        blocks = [_layer(channels_fine, heads, kind) for kind in layers]
        self.transformer = TwoViewTransformer(blocks, layers, simultaneous=False)

    def forward(
        self,
        fine: tuple[Tensor, Tensor],
        tokens: tuple[Tensor, Tensor],
        pair: Tensor,
        corners: tuple[Tensor, Tensor],
    ) -> Refined:
        """Refines N matches; differentiable.

        Args:
            fine: 1/2 maps of both images, (B, D, H, W) each; best in channels_last format.
            tokens: coarse tokens of both ends of each match, (N, C) each.
            pair: number in the batch of each match (N,).
            corners: x, y in the 1/2 map of the top-left cell of each end's coarse cell, (N, 2) each.

        Returns:
            Offsets from the corner in cells; there are no steps after the heat map. The spread is
            the sum of the standard deviations in x and y, as in LoFTR.
        """
        window0, window1 = (
            self._windows(*side, pair) for side in zip(fine, tokens, corners, strict=True)
        )
        window0, window1 = self.transformer(window0, window1)
        middle = self.window // 2
        search, spread = expectation(window0[:, :, middle, middle], window1)
        return Refined(search, spread, (), ())

    @torch.no_grad()
    def offsets(
        self,
        fine: tuple[Tensor, Tensor],
        tokens: tuple[Tensor, Tensor],
        pair: Tensor,
        corners: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Offset (N, 2) in px of the end in image 1 of each match, and its spread (N,) in px.

        Takes what `forward` takes, in bounded memory.
        """
        found = list(in_parts(self, CHUNK, fine, tokens, pair, corners))
        offset = torch.cat([part.search for part in found])
        return CELL_PX * offset, CELL_PX * torch.cat([part.spread for part in found])

    def _windows(self, fine: Tensor, tokens: Tensor, corner: Tensor, pair: Tensor) -> Tensor:
        """Windows (N, D, window, window), channels last, that know their coarse token.

        `merge_feat` of the concatenation is split in two, so that the token's half runs once a
        window rather than once a cell.
        """
        window = cut_windows(fine, pair, corner, self.window)
        D = window.shape[-1]
        for_cell, for_token = self.merge_feat.weight.split(D, 1)
        context = F.linear(self.down_proj(tokens), for_token, self.merge_feat.bias)
        return (F.linear(window, for_cell) + context[:, None, None]).permute(0, 3, 1, 2)


def cut_windows(fine: Tensor, pair: Tensor, centre: Tensor, side: int) -> Tensor:
    """Windows of a map round given cells, zero past its edge.

    What `F.unfold` with stride 4 and padding side // 2 gives at these cells, for the work and
    memory of these alone.

    Args:
        fine: (B, D, H, W).
        pair: (N,) numbers in the batch.
        centre: (N, 2) x, y of cells.
        side: of the window, odd.

    Returns:
        (N, side, side, D).
    """
    H, W = fine.shape[-2:]
    steps = torch.arange(side, device=fine.device) - side // 2
    columns = centre[:, 0, None, None] + steps  # (N, 1, side)
    rows = centre[:, 1, None, None] + steps[:, None]  # (N, side, 1)
    inside = (rows >= 0) & (rows < H) & (columns >= 0) & (columns < W)
    at = pair[:, None, None], rows.clamp(0, H - 1), columns.clamp(0, W - 1)
    return fine.permute(0, 2, 3, 1)[at].masked_fill(~inside[..., None], 0)


def expectation(query: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread of where a token lies in a window, by a softmax of their inner products.

    Sums in float32 at least, outside of autocast: 8 bits of a heat map are half a pixel.

    Args:
        query: (N, D).
        window: (N, D, P, P), P odd.

    Returns:
        Mean x, y (N, 2) from the middle of the window, and the sum of the standard deviations in
        x and y (N,), in cells.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        similarity = torch.einsum("nd,ndyx->nyx", query.to(wide), window.to(wide))
        heat = (similarity / query.shape[1] ** 0.5).flatten(1).softmax(-1)
        reach = window.shape[-1] // 2
        steps = torch.linspace(-1, 1, 2 * reach + 1, device=query.device, dtype=wide)
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        grid = torch.stack([x.flatten(), y.flatten()], -1)  # (P * P, 2)
        mean = heat @ grid
        variance = heat @ grid.square() - mean.square()
        deviation = variance.clamp_min(VARIANCE_FLOOR).sqrt().sum(-1)
    return reach * mean, reach * deviation


def _layer(channels: int, heads: int, kind: Kind) -> nn.Module:
    attention = build_attention("linear", channels, heads, kind, out_bias=False)
    return LoftrLayer(attention, channels)
