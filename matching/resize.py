"""From an image as given to what the network takes, and points of the network's image back.

Shrinks by policy, turns by quarter turns, pads at the bottom and the right. All coordinates have the
centre of the top-left pixel at (0, 0); knows nothing of networks beyond "sides are multiples of this".
"""

from dataclasses import dataclass

import numpy as np

from data_scripts.shrink import fitted_size, shrink


@dataclass(frozen=True)
class PreparedImage:
    """A grey image shrunk to the size that the network should see, not yet turned or padded."""

    grey: np.ndarray  # (h, w) float32 in [0, 1]
    mask: np.ndarray | None  # (h, w) bool, True = use; None: use all
    size: tuple[int, int]  # (H, W) as given
    given_mask: np.ndarray | None  # (H, W) bool, at the size as given


def prepare(grey: np.ndarray, mask: np.ndarray | None, long_side: int | None) -> PreparedImage:
    """Shrinks `grey` (H, W) and its mask by averaging areas, which cannot alias.

    What lies under the mask is replaced by the mean of the rest first, so that it has no influence.
    A shrunk pixel is used when at least half of it is.
    """
    H, W = grey.shape
    height, width = fitted_size(H, W, long_side)
    if mask is not None and mask.all():
        mask = None
    shrunk_mask = mask
    if mask is not None:
        grey = np.where(mask, grey, grey[mask].mean() if mask.any() else 0).astype(np.float32)
        shrunk_mask = shrink(mask.astype(np.float32), height, width) >= 0.5
    return PreparedImage(shrink(grey, height, width), shrunk_mask, (H, W), mask)


def turned_size(image: PreparedImage, turn_deg: int, multiple: int) -> tuple[int, int, bool]:
    """Height and width of what the network sees, and whether it gets a mask."""
    height, width = image.grey.shape[:: -1 if turn_deg in (90, 270) else 1]
    padded = (height + -height % multiple, width + -width % multiple)
    return *padded, image.mask is not None or padded != (height, width)


def turned_and_padded(
    image: PreparedImage, turn_deg: int, multiple: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """What the network sees: grey (h', w') and mask (h', w'), sides multiples of `multiple`.

    The mask is None when every pixel is real and used.
    """
    grey = np.rot90(image.grey, turn_deg // 90)
    height, width, masked = turned_size(image, turn_deg, multiple)
    if not masked:
        return np.ascontiguousarray(grey), None
    used = np.ones(image.grey.shape, bool) if image.mask is None else image.mask
    padding = ((0, height - grey.shape[0]), (0, width - grey.shape[1]))
    return np.pad(grey, padding), np.pad(np.rot90(used, turn_deg // 90), padding)


def unturned(points: np.ndarray, turn_deg: int, height: int, width: int) -> np.ndarray:
    """Points (N, 2) of an image turned by np.rot90, back in the image (height, width) before the turn."""
    x, y = points[:, 0], points[:, 1]
    before = {
        0: (x, y),
        90: (width - 1 - y, x),
        180: (width - 1 - x, height - 1 - y),
        270: (y, height - 1 - x),
    }[turn_deg]
    return np.stack(before, axis=1)


def to_given_pixels(points: np.ndarray, image: PreparedImage, turn_deg: int = 0) -> np.ndarray:
    """Points (N, 2) of the network's image, in pixels of the image as given."""
    height, width = image.grey.shape
    H, W = image.size
    scale = np.array([W / width, H / height])
    straight = unturned(points.astype(np.float64), turn_deg, height, width)
    return np.asarray((straight + 0.5) * scale - 0.5)


def to_network_pixels(points: np.ndarray, image: PreparedImage) -> np.ndarray:
    """Points (N, 2) of the image as given, in pixels of the network's unturned image."""
    height, width = image.grey.shape
    H, W = image.size
    scale = np.array([width / W, height / H])
    return np.asarray((points.astype(np.float64) + 0.5) * scale - 0.5)


def usable(points: np.ndarray, image: PreparedImage) -> np.ndarray:
    """Which points (N, 2), in pixels as given, lie in the image and on used pixels: (N,) bool.

    In the image: between the centres of the corner pixels. On used pixels: all of the up to four pixels
    round the point are used, so the answer holds however a reader rounds it.
    """
    H, W = image.size
    last = np.array([W - 1, H - 1])
    inside = np.all((points >= 0) & (points <= last), axis=1)  # NaN is outside
    mask = image.given_mask
    if mask is None:
        return np.asarray(inside)
    corner = np.where(inside[:, None], points, 0)
    left, top = np.floor(corner).astype(int).T
    right, bottom = np.ceil(corner).astype(int).T
    around = [mask[top, left], mask[top, right], mask[bottom, left], mask[bottom, right]]
    return np.asarray(np.logical_and.reduce([inside, *around]))
