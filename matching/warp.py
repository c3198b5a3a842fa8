"""Images moved by a homography: one laid onto the other, both stitched into one picture.

Reads arrays and a matrix, gives arrays. Knows nothing of matches or networks.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data_scripts.atomic import replacing, writable
from matching.geometry import warp_points

WRITTEN_SUFFIXES = (".png", ".jpg", ".webp", ".tif")
MAX_CANVAS = 8  # times the pixels of both images; a near-degenerate homography asks for any size
SLACK_PX = (
    1e-3  # a corner this far over a pixel's centre, by rounding, is no reason for another row
)
TILE_SHARE = 12  # tiles of the checkerboard along the longer side


@dataclass(frozen=True)
class Panorama:
    """Two images in one frame."""

    image: np.ndarray  # (H, W, 3) uint8 RGB, black where neither image is
    covered: np.ndarray  # (H, W) bool, where at least one is
    origin: tuple[int, int]  # x, y in the picture of the pixel (0, 0) of image 1


def warp_onto(
    image0: np.ndarray, H_0to1: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Image 0 (H, W, 3) seen in the frame of image 1: (height, width, 3), and where it is, bool.

    Linear between pixels; black where image 0 does not reach.
    """
    size = (width, height)
    moved = _moved(image0, H_0to1, size)
    whole = np.full(image0.shape[:2], 255, np.uint8)
    inside = cv2.warpPerspective(whole, H_0to1, size) > 127
    return np.where(inside[..., None], moved, 0).astype(image0.dtype), inside


def checkerboard(image0: np.ndarray, image1: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Tiles of both images in turn, (H, W, 3): lines that go on across tiles show that they fit.

    Args:
        image0: (H, W, 3) uint8 in the frame of image 1.
        image1: (H, W, 3) uint8.
        inside: (H, W) bool, where image 0 is; elsewhere image 1 is shown.
    """
    H, W = inside.shape
    side = max(1, -(-max(H, W) // TILE_SHARE))
    y, x = np.ogrid[:H, :W]
    first = ((y // side + x // side) % 2 == 0) & inside
    return np.where(first[..., None], image0, image1)


def stitch(image0: np.ndarray, image1: np.ndarray, H_0to1: np.ndarray) -> Panorama:
    """Both images in the frame of image 1, on a canvas that holds all of both.

    Where they overlap, each is weighted by its distance to its own edge, so no seam shows.

    Args:
        image0: (H, W, 3) uint8.
        image1: (H, W, 3) uint8.
        H_0to1: (3, 3) pixels of image 0 to pixels of image 1.

    Raises:
        ValueError: a corner of image 0 goes to infinity or behind the camera, or the canvas would be
            absurdly large.
    """
    left, top, right, bottom = _canvas(image0.shape[:2], image1.shape[:2], H_0to1)
    size = (right - left + 1, bottom - top + 1)
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
    total = np.zeros((size[1], size[0], 3), np.float32)
    weight = np.zeros((size[1], size[0], 1), np.float32)
    for image, H in ((image0, shift @ H_0to1), (image1, shift)):
        near = cv2.warpPerspective(_depth(image.shape[:2]), H, size)[..., None]
        total += near * _moved(image.astype(np.float32), H, size)
        weight += near
    covered = weight[..., 0] > 0
    image = np.rint(total / np.where(weight > 0, weight, 1)).clip(0, 255).astype(np.uint8)
    return Panorama(image, covered, (-left, -top))


def _moved(image: np.ndarray, H: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image warped, its edge going on outside: black would darken the last pixels inside."""
    return np.asarray(cv2.warpPerspective(image, H, size, borderMode=cv2.BORDER_REPLICATE))


def _depth(size: tuple[int, int]) -> np.ndarray:
    """Distance in pixels to the nearest edge of an image, 1 at the edge: (H, W) float32."""
    H, W = size
    y, x = np.arange(H, dtype=np.float32), np.arange(W, dtype=np.float32)
    return np.minimum(
        np.minimum(y, H - 1 - y)[:, None] + 1, np.minimum(x, W - 1 - x)[None] + 1
    ).astype(np.float32)


def _canvas(
    size0: tuple[int, int], size1: tuple[int, int], H_0to1: np.ndarray
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom pixel of what holds both images, in pixels of image 1."""
    (H0, W0), (H1, W1) = size0, size1
    corners = np.array([[0, 0], [W0 - 1, 0], [0, H0 - 1], [W0 - 1, H0 - 1]], np.float64)
    depth = np.column_stack([corners, np.ones(4)]) @ H_0to1[2]
    moved = warp_points(corners, H_0to1)
    if not np.isfinite(moved).all() or depth.min() <= 0 < depth.max():
        raise ValueError(
            "the homography must keep image 0 in one piece, got one that sends a part of it to "
            "infinity; these two views do not make one flat picture"
        )
    low = np.floor(np.minimum(moved.min(0) + SLACK_PX, 0)).astype(np.int64)
    high = np.ceil(np.maximum(moved.max(0) - SLACK_PX, (W1 - 1, H1 - 1))).astype(np.int64)
    pixels = int(np.prod(high - low + 1))
    if pixels > MAX_CANVAS * (H0 * W0 + H1 * W1):
        raise ValueError(
            f"the picture must not be more than {MAX_CANVAS} times both images, got {pixels} pixels; the "
            "homography is nearly degenerate, so the images hardly share a plane"
        )
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def write_rgb(path: Path, image: np.ndarray) -> None:
    """Writes image (H, W, 3) uint8 RGB to .png, .jpg, .webp or .tif, whole or not at all."""
    path = writable(path, WRITTEN_SUFFIXES)
    done, encoded = cv2.imencode(path.suffix.lower(), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"{path}: OpenCV could not encode the picture; write .png")
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
