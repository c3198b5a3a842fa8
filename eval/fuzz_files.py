"""Valid files of every kind that may come from strangers, and the readers that meet them.

A reader here does what its users do with what it gives: arrays are read, not only opened.
"""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import torch

from data_scripts import disparity_files, homography_list, megadepth, scannet, superglue_list
from data_scripts.config_json import config_to_json
from data_scripts.conversion import Settings, convert, shard_folder
from data_scripts.dataset import open_dataset
from data_scripts.image_files import read_image
from data_scripts.map_files import read_map
from data_scripts.plan import ImageSource, MapSource, PlanBuilder
from data_scripts.schema import DatasetInfo
from data_scripts.torch_file import read_torch_weights
from data_scripts.weights_file import load_weights, save_weights
from eval.adapters import RecordedFile
from eval.predictions import Prediction, read_predictions, write_record
from eval.readers.pairs_json import read_pairs_json
from eval.web_upload import clean_png, decode_upload
from matching.checkpoint import load_checkpoint
from matching.colmap_check import copy_checked
from matching.colmap_database import CameraChoice, write_colmap
from matching.config import PRESETS
from matching.geometry import RobustSettings
from matching.keypoint_merging import merge_scene
from matching.matches import Matches
from matching.pair_lists import listed
from matching.point_files import read_points
from matching.reconstruction import read_poses
from matching.shards import PairResult, read_shard, write_shard
from stereo.checkpoint import load_checkpoint as load_stereo_checkpoint
from stereo.config import PRESETS as STEREO_PRESETS

SIZE = (24, 32)  # height, width of every picture
JSON_PAIRS = [
    {
        "image0": f"{n}.png",
        "image1": f"{n + 1}.png",
        "K0": np.eye(3).tolist(),
        "K1": np.eye(3).tolist(),
        "T_0to1": np.eye(4).tolist(),
        "H_0to1": np.eye(3).tolist(),
    }
    for n in range(3)
]


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    name: str  # of the file to damage, below a folder that `make` fills
    make: Callable[
        [Path], object
    ]  # writes the valid file at that path, and what it needs beside it
    read: Callable[[Path], object]
    target: Callable[[Path], Path] = lambda path: path  # the file to damage, where it is another


@dataclass(frozen=True)
class SmallConfig:
    """Of a network that is quick to load."""

    inner: int = 4
    bias: bool = True


def _noise(channels: tuple[int, ...] = (3,), dtype: Any = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, (*SIZE, *channels), dtype=dtype)


def _picture(suffix: str, channels: tuple[int, ...] = (3,), dtype: Any = np.uint8) -> Kind:
    def make(path: Path) -> None:
        path.write_bytes(cv2.imencode(suffix, _noise(channels, dtype))[1].tobytes())

    return Kind(f"image{suffix}", make, read_image)


def _upload(path: Path) -> None:
    clean_png(decode_upload(path.read_bytes(), str(path)))


def _uploaded(suffix: str) -> Kind:
    return Kind(f"upload{suffix}", _picture(suffix).make, _upload)


def _disparity(suffix: str) -> Kind:
    def make(path: Path) -> None:
        disparity_files.write_disparity(path, np.linspace(1, 9, 24 * 32).reshape(SIZE))

    return Kind(f"disparity{suffix}", make, disparity_files.read_disparity)


def _depth_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("depth", data=np.ones(SIZE, np.float32), compression="gzip")


def _small_network(config: SmallConfig) -> torch.nn.Module:
    if not 0 < config.inner < 1000:
        raise ValueError(f"inner must lie in [1, 999], got {config.inner}")
    return torch.nn.Linear(3, config.inner, config.bias)


def _bare_checkpoint(config: object) -> Callable[[Path], object]:
    """Only the config is there: what a reader builds from it before it looks at weights."""

    def make(path: Path) -> None:
        from safetensors.torch import save

        card = {"format": 1, "config": config_to_json(config), "card": {"licence": "none"}}
        path.write_bytes(save({"nothing": torch.zeros(1)}, {"quadview": json.dumps(card)}))

    return make


def _bare(load: Callable[[Path], object]) -> Callable[[Path], object]:
    def read(path: Path) -> None:
        load(path)

    return read


def _torch_file(path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(3, 4), "b": torch.zeros(2)}, "epoch": 3}, path)


def _shard(path: Path) -> None:
    points = np.ones((5, 2), np.float32)
    matches = Matches(points, points, np.ones(5, np.float32))
    write_shard(path, [PairResult("a.png", "b.png", SIZE, SIZE, matches)] * 3)


def _colmap(path: Path) -> None:
    """Three images in a row, whose matches agree on a motion along x."""
    rng = np.random.default_rng(0)
    points, depth = rng.uniform(0, 24, (20, 2)), rng.uniform(2, 9, 20)
    seen = [np.column_stack([points[:, 0] - n * 9 / depth, points[:, 1]]) for n in range(3)]
    kpts = [each.astype(np.float32) for each in seen]
    sure = np.ones(20, np.float32)
    results = [
        PairResult(f"{i}.png", f"{i + 1}.png", SIZE, SIZE, Matches(kpts[i], kpts[i + 1], sure))
        for i in range(2)
    ]
    write_colmap(path, merge_scene(results, 0.1), CameraChoice(), RobustSettings())


def _read_colmap(path: Path) -> None:
    fresh = path.with_suffix(".fresh")
    fresh.unlink(missing_ok=True)
    copy_checked(path, fresh)


def _recorded(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for key, shape in (("kpts0", (5, 2)), ("kpts1", (5, 2)), ("confidence", (5,))):
            file.create_dataset(f"pair/{key}", data=np.ones(shape), compression="gzip")


def _predictions(path: Path) -> None:
    points = np.ones((5, 2), np.float32)
    record = Prediction(points, points, np.ones(5), SIZE, SIZE, (1.0, 1.0), (1.0, 1.0), 0.1)
    with h5py.File(path, "w") as file:
        for number in range(2):
            write_record(file.create_group(str(number)), record)
            file[str(number)].attrs["name"] = f"pair {number}"


def _dataset(path: Path, shard_images: int = 4) -> None:
    """Four images with depth and poses, and three pairs; with fewer in a shard, records lie beside the index."""
    raw = path.parent / "raw"
    raw.mkdir(exist_ok=True)
    builder = PlanBuilder()
    for n in range(4):
        cv2.imwrite(str(raw / f"{n}.png"), _noise())
        cv2.imwrite(str(raw / f"depth{n}.png"), np.full(SIZE, 2000, np.uint16))
        maps = (MapSource("depth", "integers", (str(raw / f"depth{n}.png"),), unit=0.001),)
        source = ImageSource(
            f"{n}.png", str(raw / f"{n}.png"), np.eye(3), T_w2c=np.eye(4), maps=maps
        )
        builder.image(source)
    for n in range(3):
        builder.pair(n, n + 1, "group", overlap=0.5)
    convert(
        builder.plan(DatasetInfo("drawn", "test", "none", "here", "fuzz")),
        path,
        Settings(shard_images=shard_images),
    )


def _read_dataset(path: Path) -> None:
    with open_dataset(path) as data:
        for pair in data:
            pair.image0.depth()
            pair.image0.rgb()


def _megadepth(path: Path, protocol: int = 4) -> None:
    index = {
        "image_paths": np.array(["a.jpg", "b.jpg"], dtype=object),
        "depth_paths": np.array(["a.h5", "b.h5"], dtype=object),
        "intrinsics": np.array([np.eye(3)] * 2),
        "poses": np.array([np.eye(4)] * 2),
        "pair_infos": [((0, np.int64(1)), 0.5, None)],
    }
    path.write_bytes(pickle.dumps(index, protocol))


def _scannet(path: Path) -> None:
    cameras = {"scene0707_00": np.eye(3)}
    np.savez(path.parent / "intrinsics.npz", allow_pickle=False, **cameras)
    poses = np.eye(4)[None, :3].repeat(2, 0).reshape(2, 12)
    names = np.array([[707, 0, 15, 585]] * 2)
    np.savez_compressed(path, allow_pickle=False, name=names, rel_pose=poses)


def _json(rows: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(rows))


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def _superglue(path: Path) -> None:
    numbers = [*np.eye(3).ravel(), *np.eye(3).ravel(), *np.eye(4).ravel()]
    path.write_text("".join(f"a.png b.png 0 0 {' '.join(map(str, numbers))}\n" for _ in range(3)))


POINT_LIST = "x,y\n1.5,2\n3,4.25\n\n5 6 # more\n"
KINDS: tuple[Kind, ...] = (
    *(_picture(suffix) for suffix in (".png", ".jpg", ".tiff", ".webp", ".bmp", ".ppm")),
    Kind("deep.png", _picture(".png", (), np.uint16).make, disparity_files.read_kitti_disparity),
    Kind("deep.tiff", _picture(".tiff", (), np.uint16).make, read_image),
    *(_uploaded(suffix) for suffix in (".png", ".jpg", ".webp")),
    *(_disparity(suffix) for suffix in (".pfm", ".png", ".npy", ".h5")),
    Kind("depth.h5", _depth_h5, lambda p: read_map(MapSource("depth", "h5 depth", (str(p),)))),
    Kind(
        "weights.safetensors",
        lambda path: save_weights(path, _small_network(SmallConfig()), SmallConfig(), {"a": 1}),
        lambda path: load_weights(path, SmallConfig, _small_network),
    ),
    Kind("matcher.safetensors", _bare_checkpoint(PRESETS["small"]), _bare(load_checkpoint)),
    Kind(
        "stereo.safetensors",
        _bare_checkpoint(STEREO_PRESETS["small"]),
        _bare(load_stereo_checkpoint),
    ),
    Kind("weights.pth", _torch_file, read_torch_weights),
    Kind("shard.h5", _shard, read_shard),
    Kind("colmap.db", _colmap, _read_colmap),
    Kind("recorded.h5", _recorded, lambda path: RecordedFile(path).matches("pair")),
    Kind("predictions.h5", _predictions, lambda path: list(read_predictions(path, Prediction))),
    Kind("set.h5", _dataset, _read_dataset),
    Kind(
        "records.h5",
        lambda path: _dataset(path, shard_images=2),
        _read_dataset,
        lambda path: min(shard_folder(path).glob("*.h5")),
    ),
    Kind("megadepth.npz", _megadepth, megadepth.read_pairs),
    Kind("megadepth-2.npz", partial(_megadepth, protocol=2), megadepth.read_pairs),
    Kind("megadepth-5.npz", partial(_megadepth, protocol=5), megadepth.read_pairs),
    Kind(
        "scannet.npz",
        _scannet,
        lambda path: scannet.read_pairs(path, path.parent / "intrinsics.npz"),
    ),
    Kind(
        "points.npz", lambda p: np.savez(p, allow_pickle=False, points=np.ones((4, 2))), read_points
    ),
    Kind("points.npy", lambda p: np.save(p, np.ones((4, 2)), allow_pickle=False), read_points),
    Kind("points.csv", _text(POINT_LIST), read_points),
    Kind("pairs.txt", _text("a.png b.png\nb.png\tc.png\n# note\nc.png d.png\n"), listed),
    Kind("pairs.json", _json(JSON_PAIRS), listed),
    Kind("poses.json", _json(JSON_PAIRS), lambda path: read_poses(path, path.parent)),
    Kind("truth.json", _json(JSON_PAIRS), read_pairs_json),
    Kind("homographies.json", _json(JSON_PAIRS), homography_list.read_pairs),
    Kind("superglue.txt", _superglue, superglue_list.read_list),
)
