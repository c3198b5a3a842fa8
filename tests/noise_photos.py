"""Photographs of noise to train on: every part differs from every other, and nothing is to be fetched."""

import cv2
import numpy as np


def write_noise_photos(folder, count, width=240, height=160):
    """Makes `folder` with 0.png, 1.png, ... in it, smooth noise, the same each time; gives it back."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        noise = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        photo = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.png"), photo)
    return folder
