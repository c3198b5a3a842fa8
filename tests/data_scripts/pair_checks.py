"""What every generated pair must satisfy, and the photographs that the tests make up."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from data_scripts.two_view import sample_warp


def smooth_photos(count, size=(160, 200), sigma=6.0):
    """Textured pictures without fine detail, so that resampling alone changes little."""
    rng = np.random.default_rng(0)
    photos = []
    for _ in range(count):
        noise = cv2.GaussianBlur(rng.random((*size, 3), dtype=np.float32), (0, 0), sigma)
        low, high = noise.min(), noise.max()
        photos.append(((noise - low) / (high - low) * 255).astype(np.uint8))
    return photos


def sampled(image, warp):
    """`image` (3, H, W) at the pixels of `warp` (H0, W0, 2)."""
    H, W = image.shape[1:]
    grid = 2 * warp / torch.tensor([W - 1, H - 1]) - 1
    return F.grid_sample(image[None], grid[None], align_corners=True)[0]


def colour_error(pair):
    """Mean absolute difference between image 0 and image 1 at the warp, where visible."""
    difference = (sampled(pair.image1, pair.warp_0to1) - pair.image0).abs().mean(0)
    return difference[pair.visible_0to1].mean().item()


def round_trip_px(pair):
    """How far each point comes back from where it started, (N,) px, where both ways are known."""
    H, W = pair.visible_0to1.shape
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    start = torch.stack([x, y], -1)[pair.visible_0to1].float()
    there = pair.warp_0to1[pair.visible_0to1]
    back, ok = sample_warp(pair.warp_1to0, pair.visible_1to0, there)
    return (back - start)[ok].norm(dim=-1)


def assert_same_pair(first, second):
    for name in ("image0", "image1", "warp_0to1", "visible_0to1", "warp_1to0", "visible_1to0"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=0, atol=0)
