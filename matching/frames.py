"""Black frames round an image, as undistortion, scanning and film leave them: found, so as to be masked.

The frames of two images look alike wherever the cameras stood, and a matcher joins them. Reads grey values
only; knows nothing of networks.
"""

import numpy as np

BLACK = 10 / 255  # no value of a frame is above this, JPEG's ringing included
MAX_WIDTH = 0.06  # of the image's side: what is dark further in is part of the picture
MIN_COVER = 0.6  # share of an edge that a frame covers; less is a dark thing that touches the edge
MARGIN = 0.004  # of the long side: pixels beside the frame that shrinking and JPEG mix with it


def inside_frame(grey: np.ndarray) -> np.ndarray | None:
    """What black frames leave of an image: (H, W) bool, True inside; None where there is no frame.

    An edge has a frame if, on most of its length, the image begins with a short run of black pixels.

    Args:
        grey: (H, W) in [0, 1].
    """
    dark = grey <= BLACK
    if not (dark[0].any() or dark[-1].any() or dark[:, 0].any() or dark[:, -1].any()):
        return None
    inside = np.ones(grey.shape, bool)
    margin = round(MARGIN * max(grey.shape))
    # each edge in turn is brought to the left; `inside` is turned along, so that its part is written
    for turn in range(4):
        _clear_left(np.rot90(inside, turn), np.rot90(dark, turn), margin)
    return None if inside.all() else inside


def _clear_left(inside: np.ndarray, dark: np.ndarray, margin: int) -> None:
    """Takes the frame at the left edge, with `margin` pixels more, out of `inside` (H, W)."""
    limit = int(MAX_WIDTH * dark.shape[1])
    near = dark[:, : limit + 1]
    run = near.argmin(1)  # black pixels at the start
    too_long = near.all(1)
    framed = (run > 0) & ~too_long
    if limit and framed.mean() >= MIN_COVER:
        # rows that are black further in are corners, where two frames meet, or dark things behind one
        run = np.where(too_long, np.median(run[framed]).astype(int), run)
        width = np.where(run > 0, run + margin, 0)
        inside &= np.arange(dark.shape[1]) >= width[:, None]
