"""Texture look-up without aliasing: pyramid levels chosen per pixel by footprint.

Aliased texture moves by up to half a texel between two views, which would ruin sub-pixel labels.
Level n of a pyramid holds averages of 2**n x 2**n pixels; its pixel x lies at
(x + 0.5) * 2**n - 0.5 in the full image.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_scripts import homography
from data_scripts.images import Image

MIN_LEVEL_SIDE = 8
ANISOTROPY = 2.3  # beyond it one sample a pixel either aliases along or blurs across the tilt
BLEND = 0.4  # octaves over which one level fades into the next; more looks up each pixel twice
GRID_STEP = 16  # the footprint is smooth: evaluated at every 16th pixel


def pyramid(image: Image, levels: int = 5) -> list[Image]:
    """`image` (H, W, 3) and its successive halvings, at most `levels` of them."""
    made = [image]
    while len(made) < levels:
        H, W = made[-1].shape[0] // 2, made[-1].shape[1] // 2
        if min(H, W) < MIN_LEVEL_SIDE:
            break
        even = made[-1][: 2 * H, : 2 * W]
        made.append(np.asarray(cv2.resize(even, (W, H), interpolation=cv2.INTER_AREA), np.uint8))
    return made


def render_plane(
    levels: list[Image], to_texture: NDArray[np.float64], size: tuple[int, int]
) -> Image:
    """The texture seen through the homography `to_texture` from image to texture: (H, W, 3).

    The pyramid level nearest to the footprint, faded into the next; two samples a side where the
    plane is tilted. Beyond its border the texture goes on as its mirror image.
    """
    longest, ratio = _footprint(to_texture, size)
    samples = 2 if np.partition(ratio, ratio.size // 2)[ratio.size // 2] > ANISOTROPY else 1
    # a single sample is placed between the two footprints: a little of either fault
    size_px = longest / samples if samples > 1 else longest * ratio.reshape(longest.shape) ** -0.35
    level = np.log2(np.clip(size_px, 2.0**-10, 2.0**10))
    level = np.clip(level, 0, len(levels) - 1).astype(np.float32)
    lowest, highest = round(float(level.min())), round(float(level.max()))
    if lowest == highest:
        return _one_level(levels, lowest, to_texture, size, samples)
    image = np.zeros((*size, 3), np.uint8)
    full = np.asarray(cv2.resize(level, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    for number in range(lowest, highest + 1):
        part = _part_of_level(level, number, size)
        if part is None:
            continue
        moved = to_texture @ homography.translation(part[1].start, part[0].start)
        extent = part[0].stop - part[0].start, part[1].stop - part[1].start
        colour = _one_level(levels, number, moved, extent, samples)
        if number > lowest:
            # each level covers the finer ones as far as it is coarse enough
            share = _share(full[part], number)
            finer = np.ascontiguousarray(image[part])
            colour = np.asarray(cv2.blendLinear(finer, colour, 1 - share, share), np.uint8)
        image[part] = colour
    return image


def _footprint(
    to_texture: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longest texture step of a pixel on a coarse grid over the image, and its ratios (flat)."""
    rows, columns = (max(2, -(-side // GRID_STEP) + 1) for side in size)
    x = np.arange(columns) * ((size[1] - 1) / (columns - 1))
    y = np.arange(rows) * ((size[0] - 1) / (rows - 1))
    grid = np.stack(np.broadcast_arrays(x[None], y[:, None]), -1)
    longest, shortest = homography.stretch(to_texture, grid)
    return longest, (longest / np.maximum(shortest, longest / 8)).ravel()


def _share(level: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """How far pyramid level `number` replaces the finer one where `level` is wanted, 0 to 1."""
    middle = np.float32(number - 0.5)
    return np.asarray(np.clip((level - middle) * np.float32(1 / BLEND) + np.float32(0.5), 0, 1))


def _part_of_level(
    level: NDArray[np.float32], number: int, size: tuple[int, int]
) -> tuple[slice, slice] | None:
    """The rows and columns of an image of `size` in which pyramid level `number` is seen."""
    reach = (1 + BLEND) / 2
    used = (level > number - reach) & (level < number + reach)
    slices = []
    for axis, side in enumerate(size):
        cells = np.flatnonzero(used.any(1 - axis))
        if not len(cells):
            return None
        # one cell more on either side, as the map is interpolated between cell centres
        step = side / used.shape[axis]
        start, stop = int((cells[0] - 1) * step), int(np.ceil((cells[-1] + 2) * step))
        slices.append(slice(max(0, start), min(side, stop)))
    return slices[0], slices[1]


def _one_level(
    levels: list[Image],
    number: int,
    to_texture: NDArray[np.float64],
    size: tuple[int, int],
    samples: int,
) -> Image:
    """The texture in pyramid level `number` alone, mean of `samples` a side: (H, W, 3)."""
    scale = 0.5**number
    to_level = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5], [0, 0, 1]])
    # sample x lies at (x + 0.5) / samples - 0.5 in the image
    step, offset = 1 / samples, 0.5 / samples - 0.5
    spread = np.array([[step, 0, offset], [0, step, offset], [0, 0, 1]])
    seen = cv2.warpPerspective(
        levels[number],
        to_level @ to_texture @ spread,
        (size[1] * samples, size[0] * samples),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    if samples > 1:
        seen = cv2.resize(seen, size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(seen, np.uint8)


def sample(
    levels: list[Image],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    level: NDArray[np.float32],
) -> Image:
    """The texture at pixels x, y (H, W), from the pyramid level nearest to `level` (H, W)."""
    level = np.clip(level, 0, len(levels) - 1)
    lowest, highest = round(float(level.min())), round(float(level.max()))
    image = _sample_level(levels, lowest, x, y)
    for number in range(lowest + 1, highest + 1):
        share = _share(level, number)
        coarser = _sample_level(levels, number, x, y)
        image = np.asarray(cv2.blendLinear(image, coarser, 1 - share, share), np.uint8)
    return image


def _sample_level(
    levels: list[Image], number: int, x: NDArray[np.float32], y: NDArray[np.float32]
) -> Image:
    scale = np.float32(0.5**number)
    offset = scale / 2 - np.float32(0.5)
    sampled = cv2.remap(
        levels[number],
        x * scale + offset,
        y * scale + offset,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(sampled, np.uint8)
