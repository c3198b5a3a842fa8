"""Windows of labelled rectified pairs, so that pairs of any size fill batches of one size."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from data_scripts.rectified import RectifiedPair

DISPS = ("disp", "disp_right")
MASKS = ("known", "occluded", "known_right", "occluded_right")


def shrunk_pair(pair: RectifiedPair, long_side: int) -> RectifiedPair:
    """`pair` at a long side of at most `long_side` px; disparities shrink with the width.

    Images are averaged; labels are those of the nearest pixel, as a mean across an edge lies on neither
    surface.
    """
    H, W = pair.disp.shape
    if max(H, W) <= long_side:
        return pair
    size = max(1, round(H * long_side / max(H, W))), max(1, round(W * long_side / max(H, W)))

    def image(values: Tensor) -> Tensor:
        return F.interpolate(values[None], size, mode="area")[0]

    def label(values: Tensor | None) -> Tensor | None:
        if values is None:
            return None
        near = F.interpolate(values[None, None].float(), size, mode="nearest-exact")[0, 0]
        return near.to(values.dtype)

    def disp(values: Tensor | None) -> Tensor | None:
        near = label(values)
        return None if near is None else near * (size[1] / W)

    labels = {name: label(getattr(pair, name)) for name in MASKS}
    labels |= {name: disp(getattr(pair, name)) for name in DISPS}
    return RectifiedPair(left=image(pair.left), right=image(pair.right), **labels)  # type: ignore[arg-type]


def random_window(
    pair: RectifiedPair, size: tuple[int, int], generator: torch.Generator
) -> RectifiedPair:
    """The same random window of `size` (H, W) of both images.

    What moves out of the window is occluded. Images that are smaller are padded with zeros at the right
    and below, where nothing is known.
    """
    H, W = pair.disp.shape
    y, x = (
        int(torch.randint(max(whole - part, 0) + 1, (), generator=generator))
        for whole, part in zip((H, W), size, strict=True)
    )

    def window(values: Tensor) -> Tensor:
        part = values[..., y : y + size[0], x : x + size[1]]
        missing = (0, size[1] - part.shape[-1], 0, size[0] - part.shape[-2])
        return F.pad(part, missing)

    parts = {name: None if value is None else window(value) for name, value in vars(pair).items()}
    cut = RectifiedPair(**parts)  # type: ignore[arg-type]
    width = min(size[1], W)
    column = torch.arange(size[1], device=cut.disp.device)
    out = cut.known & (column - cut.disp < 0)
    cut = replace(cut, occluded=cut.occluded | out)
    if cut.disp_right is None or cut.known_right is None or cut.occluded_right is None:
        return cut
    out = cut.known_right & (column + cut.disp_right > width - 1)
    return replace(cut, occluded_right=cut.occluded_right | out)
