import cv2
import h5py
import numpy as np
import pytest

from data_scripts import schema
from data_scripts.disparity_files import write_pfm
from data_scripts.map_files import READERS, read_map
from data_scripts.plan import MapSource

INF = np.inf


def source(reader, *paths, **values):
    return MapSource("depth", reader, tuple(map(str, paths)), **values)


def png(path, values):
    assert cv2.imwrite(str(path), np.array(values))
    return path


def test_integers_stay_as_they_are_but_for_those_above_the_largest(tmp_path):
    path = png(tmp_path / "a.png", np.array([[0, 1, 65534, 65535]], np.uint16))
    assert read_map(source("integers", path)).tolist() == [[0, 1, 65534, 65535]]
    found = read_map(source("integers", path, largest=65534))
    assert (found.tolist(), found.dtype) == ([[0, 1, 65534, 0]], np.uint16)


@pytest.mark.parametrize(
    ("reader", "wanted"),
    [("pfm", [[1.5, INF, INF, INF, INF]]), ("signless pfm", [[1.5, 2.5, INF, INF, INF]])],
)
def test_a_disparity_in_pfm_is_positive_or_infinite(tmp_path, reader, wanted):
    write_pfm(tmp_path / "a.pfm", np.array([[1.5, -2.5, 0, np.nan, INF]], np.float32))
    assert read_map(source(reader, tmp_path / "a.pfm")).tolist() == wanted


def test_depth_in_hdf5_is_0_where_it_is_none(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["depth"] = np.array([[1.5, -1, np.nan, INF]])
    assert read_map(source("h5 depth", tmp_path / "a.h5")).tolist() == [[1.5, 0, 0, 0]]


def test_masks_become_codes(tmp_path):
    codes = [[schema.UNKNOWN, schema.OCCLUDED, schema.SEEN_BY_BOTH]]
    path = png(tmp_path / "a.png", np.array(codes, np.uint8))
    assert read_map(source("coded mask", path)).tolist() == codes
    occluded = png(tmp_path / "b.png", np.array([[0, 1, 255]], np.uint8))
    seen, hidden = schema.SEEN_BY_BOTH, schema.OCCLUDED
    assert read_map(source("occluded mask", occluded)).tolist() == [[seen, hidden, hidden]]
    everything = png(tmp_path / "c.png", np.array([[0, 9, 9]], np.uint16))
    both = png(tmp_path / "d.png", np.array([[0, 0, 9]], np.uint16))
    assert read_map(source("two disparities", everything, both)).tolist() == codes


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        ("coded mask", "mask of"),
        ("h5 depth", "HDF5 with a map"),
        ("pfm", "PFM file"),
        ("signless pfm", "PFM file"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, reader, words):
    path = png(tmp_path / "a.png", np.array([[1, 2]], np.uint8))
    with pytest.raises(ValueError, match=rf"a\.png: wanted .*{words}"):
        read_map(source(reader, path))


@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_missing_file_is_named(tmp_path, reader):
    path = tmp_path / "none.png"
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        read_map(source(reader, path, path))


def test_maps_of_different_sizes_are_refused(tmp_path):
    paths = [png(tmp_path / f"{n}.png", np.ones((2, n), np.uint16)) for n in (2, 3)]
    with pytest.raises(ValueError, match="wanted the size of"):
        read_map(source("two disparities", *paths))
