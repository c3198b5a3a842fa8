"""Data sets small enough for tests: a plan of drawn images, and an index that is simulated at any size."""

import cv2
import h5py
import numpy as np

from data_scripts import schema
from data_scripts.plan import ImageSource, MapSource, PlanBuilder
from data_scripts.schema import DatasetInfo

INFO = DatasetInfo("drawn", "test", "none", "this file", "a test")
K = np.array([[500, 0, 15.5], [0, 500, 11.5], [0, 0, 1.0]])


def draw_image(path, seed, size=(24, 32)):
    """Writes noise of `size` as a picture at `path`; the same for the same seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def draw_depth(path, metres, size=(24, 32)):
    """Writes a depth map in millimetres, everywhere the same but unknown in the top-left pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    depth = np.full(size, round(metres * 1000), np.uint16)
    depth[0, 0] = 0
    assert cv2.imwrite(str(path), depth)
    return path


def pose(x):
    """World to camera of a camera moved by `x` metres to the right."""
    T = np.eye(4)
    T[0, 3] = -x
    return T


def draw_plan(folder, count=4):
    """A plan of `count` images in a row, each paired with the next, with depth and poses."""
    builder = PlanBuilder()
    for n in range(count):
        image = draw_image(folder / f"{n}.png", n)
        depth = draw_depth(folder / f"depth{n}.png", 2 + n)
        maps = (MapSource("depth", "integers", (str(depth),), unit=0.001),)
        builder.image(ImageSource(f"{n}.png", str(image), K, T_w2c=pose(n), maps=maps))
    for n in range(count - 1):
        builder.pair(n, n + 1, f"group {n % 2}", overlap=0.5 + 0.01 * n)
    return builder.plan(INFO)


def simulate_index(path, images, pairs):
    """An index of `images` and `pairs` rows with every matrix, without any record behind it."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        rows = schema.empty_rows(schema.image_dtype(24, ("K", "T_w2c")), images)
        rows["name"] = [b"scene/color/%d.jpg" % n for n in range(images)]
        rows["K"], rows["T_w2c"] = K, np.eye(4)
        file[schema.IMAGES] = rows
        table = schema.empty_rows(schema.pair_dtype(("T_0to1", "overlap")), pairs)
        table["image0"] = rng.integers(0, images, pairs)
        table["image1"] = rng.integers(0, images, pairs)
        table["T_0to1"], table["overlap"] = np.eye(4), 0.5
        file[schema.PAIRS] = table
        file[schema.GROUPS] = schema.strings(["all"])
        file[schema.SHARDS] = schema.strings(["simulated.shards/000000.h5"])
        file[schema.SKIPPED] = schema.strings([])
        schema.write_info(file, INFO)
