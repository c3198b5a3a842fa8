import re
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest

from data_scripts import schema
from data_scripts.checks import check_dataset
from data_scripts.conversion import Settings, convert
from data_scripts.plan import MapSource
from tests.data_scripts.dataset_files import draw_plan


@pytest.fixture
def converted(tmp_path):
    """A set with depth, a disparity and an occlusion mask, all in one file."""
    plan = draw_plan(tmp_path)
    grey = np.full((24, 32), 40, np.uint8)
    cv2.imwrite(str(tmp_path / "disp.png"), grey)
    cv2.imwrite(str(tmp_path / "mask.png"), np.full((24, 32), 255, np.uint8))
    maps = (
        MapSource("disparity", "integers", (str(tmp_path / "disp.png"),), unit=0.25),
        MapSource("occlusion", "coded mask", (str(tmp_path / "mask.png"),)),
    )
    images = [replace(plan.images[0], maps=(*plan.images[0].maps, *maps)), *plan.images[1:]]
    convert(replace(plan, images=images), tmp_path / "set.h5")
    return tmp_path / "set.h5"


def change_row(file, table, number, field, value):
    rows = file[table][()]
    rows[field][number] = value
    file[table][...] = rows


def change_map(file, row, name, value):
    stored = file[f"{schema.record_name(row)}/{name}"]
    values = stored[()].astype(np.float32)
    attributes = dict(stored.attrs)
    del file[f"{schema.record_name(row)}/{name}"]
    file[f"{schema.record_name(row)}/{name}"] = np.full_like(values, value)
    file[f"{schema.record_name(row)}/{name}"].attrs.update(attributes)


def flip_a_byte(file):
    image = file[f"{schema.record_name(1)}/{schema.IMAGE}"]
    image[60] = image[60] ^ 1


def swap_image(file):
    """Another sound picture of the same size in the place of image 1."""
    other = file[f"{schema.record_name(0)}/{schema.IMAGE}"][()]
    name = f"{schema.record_name(1)}/{schema.IMAGE}"
    attributes = dict(file[name].attrs)
    del file[name]
    file[name] = other
    file[name].attrs.update(attributes)


def remove_image(file):
    del file[f"{schema.record_name(2)}/{schema.IMAGE}"]


def set_unit(file):
    file[f"{schema.record_name(0)}/disparity"].attrs["unit"] = 256.0


def test_a_sound_set_has_no_faults(converted):
    assert check_dataset(converted) == []


SKEWED = np.eye(4) + np.eye(4, k=1) * 0.01
MIRROR = np.diag([1.0, 1, -1, 1])
FAULTS = [
    (flip_a_byte, "image 1: .*checksum"),
    (swap_image, "image 1, 1.png: .*CRC-32"),
    (remove_image, "image 2: .*wanted image of record 2"),
    (lambda f: change_row(f, "images", 3, "width", 33), "image 3.*as its table says"),
    (lambda f: change_row(f, "images", 1, "K", np.inf), "image 1.*wanted a K"),
    (lambda f: change_row(f, "images", 1, "K", -np.eye(3)), "image 1.*wanted a K"),
    (lambda f: change_row(f, "images", 2, "T_w2c", SKEWED), "image 2.*orthonormal"),
    (lambda f: change_row(f, "images", 2, "T_w2c", MIRROR), "image 2.*orthonormal"),
    (lambda f: change_row(f, "images", 1, "name", b"0.png"), "image 1.*name of its own"),
    (lambda f: change_row(f, "images", 1, "shard", 7), "image 1.*shard below 1"),
    (lambda f: change_row(f, "pairs", 1, "image1", 4), "pair 1.*images below 4"),
    (lambda f: change_row(f, "pairs", 2, "image0", -1), "pair 2.*images below 4"),
    (lambda f: change_row(f, "pairs", 2, "group", 2), "pair 2.*group below 2"),
    (lambda f: change_row(f, "pairs", 0, "overlap", 1.5), "pair 0.*overlap"),
    (lambda f: change_map(f, 1, "depth", np.nan), "image 1.*depth that is finite"),
    (lambda f: change_map(f, 0, "disparity", -3), "image 0.*disparities above 0"),
    (lambda f: change_map(f, 0, "occlusion", 7), "image 0.*occlusion as uint8"),
    (set_unit, "image 0.*is the unit right"),
]


@pytest.mark.parametrize(("spoil", "words"), FAULTS, ids=[words for _, words in FAULTS])
def test_a_fault_is_found_and_its_record_named(converted, spoil, words):
    with h5py.File(converted, "a") as file:
        spoil(file)
    faults = check_dataset(converted)
    assert any(re.search(words, line) for line in faults), faults


def test_single_near_points_are_no_fault(converted):
    with h5py.File(converted, "a") as file:
        stored = file[f"{schema.record_name(0)}/disparity"]
        values = stored[()]
        values[:5] = 255  # 63.75 px in an image of 32
        stored[...] = values
    assert check_dataset(converted) == []


def test_a_missing_shard_is_a_fault_of_its_records(tmp_path):
    convert(draw_plan(tmp_path), tmp_path / "set.h5", Settings(shard_images=2))
    (tmp_path / "set.shards" / "000001.h5").unlink()
    faults = check_dataset(tmp_path / "set.h5")
    assert [line.split(":")[0] for line in faults] == ["image 2", "image 3"]
    assert all("000001.h5" in line for line in faults)


def test_worker_processes_find_what_one_process_finds(tmp_path, monkeypatch):
    monkeypatch.setattr("data_scripts.checks.JOB_IMAGES", 2)
    convert(draw_plan(tmp_path), tmp_path / "set.h5", Settings(shard_images=2))
    with h5py.File(tmp_path / "set.shards" / "000001.h5", "a") as file:
        flip_a_byte(file)
    alone = check_dataset(tmp_path / "set.h5")
    assert len(alone) == 1
    assert check_dataset(tmp_path / "set.h5", workers=2) == alone


def test_a_damaged_map_is_found_by_its_checksum(converted):
    with h5py.File(converted) as file:
        offset, length = _chunk(file[f"{schema.record_name(3)}/depth"])
    data = bytearray(converted.read_bytes())
    data[offset + length // 2] ^= 255
    converted.write_bytes(data)
    (line,) = check_dataset(converted)
    assert line.startswith("image 3")


def _chunk(stored):
    info = stored.id.get_chunk_info(0)
    return info.byte_offset, info.size
