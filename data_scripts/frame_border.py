"""Black frames round an image, as undistortion and scanning leave them: nothing in them is a match.

Matchers that never saw such frames match them with each other (ScanNet's colour images have them).
Applied to a whole pair, because the labels must know; after any photometric change, as frames stay black.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data_scripts.two_view import TwoView


@dataclass(frozen=True)
class FrameSettings:
    """How often images have frames and how wide these are; shares in [0, 1]."""

    share: float = 0.15  # of the pairs
    one_share: float = 0.3  # of these have a frame round one image only
    max_width: float = 0.05  # of the image's side, at the middle of an edge
    max_bend: float = 0.04  # how much wider or narrower it becomes towards the corners
    black_share: float = 0.85  # of the frames; the others have any even grey

    def __post_init__(self) -> None:
        if not 0 <= self.max_width + self.max_bend < 0.5:
            raise ValueError(
                f"max_width + max_bend must lie in [0, 0.5), got {self.max_width} + {self.max_bend}"
            )


def framed(
    view: TwoView, generator: torch.Generator, settings: FrameSettings | None = None
) -> TwoView:
    """`view`, at times with frames round its images; what they cover is no longer visible."""
    settings = settings or FrameSettings()
    draw = torch.rand(3, generator=generator)
    if draw[0] >= settings.share:
        return view
    if draw[1] >= settings.one_share:
        view = _one_framed(view, generator, settings)
    elif draw[2] < 0.5:
        return _one_framed(view, generator, settings)
    return _one_framed(view.swapped(), generator, settings).swapped()


def _one_framed(view: TwoView, generator: torch.Generator, settings: FrameSettings) -> TwoView:
    """`view` with a frame round image 0."""
    _, H, W = view.image0.shape
    inside = frame_inside(H, W, generator, settings).to(view.image0.device)
    black = float(torch.rand((), generator=generator)) < settings.black_share
    shade = 0.0 if black else float(torch.rand((), generator=generator))
    rows, columns = inside.shape
    x, y = view.warp_1to0.round().long().unbind(-1)
    seen = inside[y.clamp(0, rows - 1), x.clamp(0, columns - 1)]
    return replace(
        view,
        image0=torch.where(inside, view.image0, shade),
        visible_0to1=view.visible_0to1 & inside,
        visible_1to0=view.visible_1to0 & seen,
    )


def frame_inside(
    height: int, width: int, generator: torch.Generator, settings: FrameSettings
) -> Tensor:
    """What a random frame leaves of an image (height, width): bool, True inside.

    Each edge is a parabola: its width at the middle and its bend towards the corners are drawn alone,
    and half of the edges have none.
    """
    depth = (torch.rand(4, generator=generator) - 0.5).clamp_min(0) * 2 * settings.max_width
    bend = (2 * torch.rand(4, generator=generator) - 1) * settings.max_bend
    y = torch.linspace(-1, 1, height)[:, None]
    x = torch.linspace(-1, 1, width)
    left, right, top, bottom = (
        d + b * across.square() for d, b, across in zip(depth, bend, (y, y, x, x), strict=True)
    )
    return (x + 1 >= 2 * left) & (1 - x >= 2 * right) & (y + 1 >= 2 * top) & (1 - y >= 2 * bottom)
