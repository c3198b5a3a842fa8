import multiprocessing
import pickle
import tracemalloc

import cv2
import h5py
import numpy as np
import psutil
import pytest

from data_scripts import schema
from data_scripts.conversion import Settings, convert
from data_scripts.dataset import open_dataset
from tests.data_scripts.dataset_files import K, draw_plan, simulate_index

# images and pairs; a million opens in the slow test
SIZES = [(3000, 20_000), pytest.param((200_000, 1_000_000), marks=pytest.mark.slow)]


@pytest.fixture(params=[256, 3], ids=["one file", "two shards"])
def drawn(tmp_path, request):
    convert(draw_plan(tmp_path), tmp_path / "set.h5", Settings(shard_images=request.param))
    with open_dataset(tmp_path / "set.h5") as data:
        yield data


def test_images_are_the_bytes_of_their_files(drawn, tmp_path):
    assert drawn.image_count == 4
    for image in drawn.images():
        path = tmp_path / image.name
        assert image.encoded() == path.read_bytes()
        np.testing.assert_array_equal(image.rgb(), cv2.imread(str(path))[..., ::-1])
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(image.grey(), grey)
        assert image.size == grey.shape


def test_a_pair_has_the_motion_of_its_poses_and_what_the_plan_said(drawn):
    pair = drawn[1]
    assert pair.name == "1--2"
    assert (pair.image0.number, pair.image1.number, pair.group) == (1, 2, "group 1")
    np.testing.assert_array_equal(
        pair.T_0to1[:3, 3], [-1, 0, 0]
    )  # the camera went 1 m to the right
    np.testing.assert_array_equal(pair.image0.K, K)
    assert pair.overlap == pytest.approx(0.51)
    absent = (pair.H_0to1, pair.ndisp, pair.focal_px, pair.baseline_m, pair.image0.K_depth)
    assert absent == (None,) * 5
    assert pair.turns == (0, 0)


def test_depth_is_in_metres_with_0_where_unknown(drawn):
    depth = drawn.image(3).depth()
    assert depth[0, 0] == 0
    assert depth[5, 5] == pytest.approx(5.0)
    assert drawn.image(3).disparity() is None
    assert drawn.image(3).occlusion() is None


def test_length_iteration_and_ends_are_those_of_a_list(drawn):
    assert len(drawn) == 3
    assert [pair.number for pair in drawn] == [0, 1, 2]
    assert drawn[-1].number == 2
    for number in (3, -4):
        with pytest.raises(IndexError):
            drawn[number]


def test_a_pickled_set_opens_the_files_again(drawn):
    copy = pickle.loads(pickle.dumps(drawn))
    assert copy[2].image1.encoded() == drawn[2].image1.encoded()
    assert len(pickle.dumps(drawn)) < 1000
    copy.close()


def test_a_closed_set_opens_again_when_it_is_used(drawn):
    before = drawn[0].image0.encoded()
    drawn.close()
    assert drawn[0].image0.encoded() == before


def _sum_of(data, number, answers):
    answers.put((number, int(data[number].image1.rgb().sum())))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_processes_read_what_this_one_reads(drawn):
    wanted = {n: int(drawn[n].image1.rgb().sum()) for n in range(3)}
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    processes = [fork.Process(target=_sum_of, args=(drawn, n, answers)) for n in range(3)]
    for process in processes:
        process.start()
    assert dict(answers.get(timeout=60) for _ in processes) == wanted
    for process in processes:
        process.join()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_large_index_opens_at_once_and_is_walked_without_growing(tmp_path, size):
    simulate_index(tmp_path / "large.h5", *size)
    clock = psutil.Process().cpu_times().user
    data = open_dataset(tmp_path / "large.h5")
    assert len(data) == size[1]
    assert psutil.Process().cpu_times().user - clock < 2
    step = size[1] // 400
    data[0]
    tracemalloc.start()
    for number in range(0, size[1], step):
        assert data[number].overlap == 0.5
    walked = sum(len(data.rows("pairs", n, n + 8192)) for n in range(0, size[1], 8192))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert walked == size[1]
    assert peak < 6e6  # two blocks of 8192 rows of 150 bytes, and no more
    data.close()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "no file"),
        (lambda path: path.write_bytes(b"text"), "HDF5"),
        (lambda path: h5py.File(path, "w").close(), "format"),
    ],
    ids=["missing", "no HDF5", "other HDF5"],
)
def test_what_is_no_converted_set_is_told_in_one_line(drawn, spoil, words):
    drawn.close()
    spoil(drawn.path)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        open_dataset(drawn.path)


def test_another_version_of_the_layout_is_refused(drawn):
    drawn.close()
    with h5py.File(drawn.path, "a") as file:
        file.attrs["version"] = schema.VERSION + 1
    with pytest.raises(ValueError, match=f"version {schema.VERSION}"):
        open_dataset(drawn.path)


def test_a_table_in_chunks_reads_like_one_in_one_piece(drawn):
    wanted = [pair.T_0to1 for pair in drawn]
    drawn.close()
    with h5py.File(drawn.path, "a") as file:
        rows = file[schema.IMAGES][()]
        del file[schema.IMAGES]
        file.create_dataset(schema.IMAGES, data=rows, chunks=(2,), compression="gzip")
    with open_dataset(drawn.path) as data:
        np.testing.assert_array_equal([pair.T_0to1 for pair in data], wanted)
