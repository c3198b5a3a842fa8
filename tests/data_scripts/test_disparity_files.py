import struct

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_scripts.disparity_files import (
    read_disparity,
    read_kitti_disparity,
    read_pfm,
    write_disparity,
    write_kitti_disparity,
    write_pfm,
)
from tests.shared_data import shared

MAP = np.array([[1.5, -2.25, np.inf], [0, 1e-30, 300]], np.float32)


def answer_of(path):
    """The map in a file, or the words with which it is refused."""
    try:
        return read_disparity(path), None
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("little_endian", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 5)])
def test_pfm_gives_back_every_bit_whatever_the_byte_order(tmp_path, shape, little_endian):
    disp = np.random.default_rng(0).normal(0, 50, shape).astype(np.float32)
    disp.flat[0] = np.inf
    write_pfm(tmp_path / "a.pfm", disp, little_endian=little_endian)
    np.testing.assert_array_equal(read_pfm(tmp_path / "a.pfm"), disp)


@pytest.mark.parametrize(("order", "scale"), [("<", b"-1.0"), (">", b"1"), ("<", b"-0.003922")])
def test_pfm_rows_are_stored_from_the_bottom_and_the_scale_is_only_a_byte_order(
    tmp_path, order, scale
):
    # Two rows of two: the file begins with the bottom row (3, 4).
    values = struct.pack(f"{order}4f", 3, 4, 1, -2)
    for end in (b"\n", b"\r\n"):
        (tmp_path / "a.pfm").write_bytes(b"Pf\n2 2\n" + scale + end + values)
        np.testing.assert_array_equal(read_pfm(tmp_path / "a.pfm"), [[1, -2], [3, 4]])


def test_opencv_reads_what_we_write_and_we_read_what_it_writes(tmp_path):
    write_pfm(tmp_path / "ours.pfm", MAP)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "ours.pfm"), -1), MAP)
    cv2.imwrite(str(tmp_path / "theirs.pfm"), MAP)
    np.testing.assert_array_equal(read_pfm(tmp_path / "theirs.pfm"), MAP)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "wanted a PFM file of one channel"),
        (b"\x89PNG\r\n", "wanted a PFM file of one channel"),
        (b"PF\n1 1\n-1\n" + bytes(12), "got three channels"),
        (b"Pf\n2 2\n-1\n" + bytes(15), "wanted 16 bytes for 2 x 2 pixels"),
        (b"Pf\n2 2\n-1\n" + bytes(17), "got 17"),
        (b"Pf\n0 2\n-1\n", "wanted 0 bytes"),
        (b"Pf\n999999999 999999999\n-1\n" + bytes(16), "at most 268435456"),
        (b"Pf\n1 1\n0\n" + bytes(4), "wanted a scale"),
        (b"Pf\n1 1\n-e-\n" + bytes(4), "wanted a scale"),
        (b"Pf\n1 1\n1e999\n" + bytes(4), "wanted a scale"),
    ],
)
def test_a_broken_pfm_is_told_in_one_line(tmp_path, content, message):
    path = tmp_path / "a.pfm"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as told:
        read_pfm(path)
    assert str(told.value).startswith(str(path))
    assert "\n" not in str(told.value)


def test_kitti_png_keeps_multiples_of_a_256th_and_zero_for_the_unknown(tmp_path):
    disp = np.array([[1 / 256, 0.5, 100.25, 65535 / 256], [3, np.inf, np.nan, 7]], np.float32)
    write_kitti_disparity(tmp_path / "a.png", disp)
    want = np.where(np.isfinite(disp), disp, 0)
    np.testing.assert_array_equal(read_kitti_disparity(tmp_path / "a.png"), want)
    np.testing.assert_array_equal(
        cv2.imread(str(tmp_path / "a.png"), -1), (want * 256).astype(np.uint16)
    )


def test_known_disparities_of_a_kitti_png_are_never_zero(tmp_path):
    disp = np.array([[0, -3, 1e-4, 5]], np.float32)
    write_kitti_disparity(tmp_path / "a.png", disp)
    np.testing.assert_array_equal(
        read_kitti_disparity(tmp_path / "a.png"), [[1 / 256, 1 / 256, 1 / 256, 5]]
    )
    write_kitti_disparity(tmp_path / "b.png", disp, known=disp > 0)
    np.testing.assert_array_equal(read_kitti_disparity(tmp_path / "b.png"), [[0, 0, 1 / 256, 5]])


def test_a_disparity_that_16_bits_cannot_hold_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"up to 255.996 px, got 300.000; write .pfm"):
        write_kitti_disparity(tmp_path / "a.png", MAP)
    assert not list(tmp_path.iterdir())


def test_an_eight_bit_picture_is_no_disparity(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="wanted a grey 16-bit PNG"):
        read_kitti_disparity(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".pfm", ".png", ".npy", ".h5"])
def test_what_is_written_in_any_format_is_read_back(tmp_path, suffix):
    disp = np.array([[1.5, np.inf], [0.25, 99]], np.float32)
    write_disparity(tmp_path / f"a{suffix}", disp, {"occlusion": np.zeros((2, 2))}, "by a test")
    np.testing.assert_array_equal(read_disparity(tmp_path / f"a{suffix}"), disp)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_npy_of_other_floats_and_orders_is_read(tmp_path):
    for dtype in (">f8", "<f2", "<f4"):
        np.save(tmp_path / "a.npy", np.asfortranarray(MAP[:, :2].astype(dtype)))
        np.testing.assert_array_equal(read_disparity(tmp_path / "a.npy"), MAP[:, :2].astype(dtype))


def test_hdf5_keeps_what_lies_beside_the_disparity(tmp_path):
    write_disparity(tmp_path / "a.h5", MAP, {"occlusion": MAP * 2}, "by a test")
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["occlusion"], MAP * 2)
        assert file.attrs["notes"] == "by a test"


@pytest.mark.parametrize("disp", [np.zeros(3), np.zeros((2, 2), int), np.zeros((0, 4))])
def test_only_float_maps_are_written(tmp_path, disp):
    with pytest.raises(ValueError, match=r"disparity must be float \(H, W\)"):
        write_disparity(tmp_path / "a.npy", disp)


@pytest.mark.parametrize("name", ["a.exr", "a"])
def test_other_formats_are_refused_by_name(tmp_path, name):
    with pytest.raises(ValueError, match="wanted a disparity in"):
        read_disparity(tmp_path / name)
    with pytest.raises(ValueError, match="wanted a file name that ends in"):
        write_disparity(tmp_path / name, MAP)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([".pfm", ".png", ".npy", ".h5"]), st.data())
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path_factory, suffix, data):
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    write_disparity(path, np.full((5, 7), 2.5, np.float32))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        last = data.draw(st.sampled_from([20, 100, len(content)]))
        place = data.draw(st.integers(0, min(last, len(content)) - 1))
        content[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    path.write_bytes(content[:end])
    disp, refusal = answer_of(path)
    if refusal is None:
        assert disp.dtype == np.float32
        assert disp.ndim == 2
    else:
        assert str(path) in refusal
        assert "\n" not in refusal


@pytest.mark.parametrize("suffix", [".pfm", ".png", ".npy", ".h5"])
def test_a_missing_file_and_a_folder_are_told(tmp_path, suffix):
    with pytest.raises(FileNotFoundError, match="no such"):
        read_disparity(tmp_path / f"a{suffix}")
    (tmp_path / f"b{suffix}").mkdir()
    with pytest.raises(ValueError, match=r"b\."):
        read_disparity(tmp_path / f"b{suffix}")


def test_middleburys_own_file_reads_with_unknown_pixels_infinite():
    folder = shared("data/stereo/layouts/MIDDLEBURY_2014/trainingQ/Motorcycle")
    disp = read_pfm(folder / "disp0GT.pfm")
    mask = cv2.imread(str(folder / "mask0nocc.png"), cv2.IMREAD_GRAYSCALE)
    assert disp.shape == mask.shape
    np.testing.assert_array_equal(np.isinf(disp), mask == 0)
