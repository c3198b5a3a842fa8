import json

import cv2
import numpy as np
import pytest

from data_scripts.conversion import Settings, convert
from data_scripts.plan import ImageSource, PlanBuilder
from data_scripts.schema import DatasetInfo
from eval.benchmarks import BENCHMARKS
from eval.methods import Method
from eval.report import markdown_table, write_results
from eval.runner import run
from eval.set_place import check_names, find_set, is_converted, lacks, lacks_note
from matching.matches import Matches


class Same:
    """Matches the corners of every image with themselves."""

    def match(self, image0, _image1):
        H, W = image0.shape[:2]
        kpts = np.array([[0, 0], [W - 1, 0], [0, H - 1], [W - 1, H - 1], [W / 2, H / 3]], float)
        return Matches(kpts, kpts, np.ones(5, np.float32))


@pytest.fixture
def convert_set(tmp_path):
    """Converts three pairs of one picture each with itself; what the raw set lacked is given."""

    def converted(remarks=(), bad=False):
        builder = PlanBuilder()
        for name in "abc":
            path = tmp_path / f"{name}.png"
            cv2.imwrite(str(path), np.full((20, 30, 3), ord(name), np.uint8))
            if bad and name == "c":
                path.write_bytes(b"no picture")
            number = builder.image(ImageSource(f"{name}.png", str(path)))
            builder.pair(number, number, H_0to1=np.eye(3))
        info = DatasetInfo("drawn", "test", "none", "this file", "a test")
        convert(builder.plan(info, remarks), tmp_path / "set.h5", Settings(skip_bad=bad))
        return tmp_path / "set.h5"

    return converted


@pytest.fixture
def score(tmp_path):
    def scored(path):
        method = Method("same", "1", Same)
        return run(BENCHMARKS["homography"], method, path, tmp_path / "out")

    return scored


def test_what_a_set_lacks_stands_in_one_line_beside_its_numbers(convert_set, score, tmp_path):
    remarks = ["2 of 5 pairs missing; drawn comes from a test", "no depth"]
    results = score(convert_set(remarks))
    lines = [line for line in markdown_table(results).splitlines() if "not whole" in line]
    assert lines == [f"- homography: the set is not whole: {'; '.join(remarks)}."]
    write_results(results, tmp_path / "results.json")
    (found, *_) = json.loads((tmp_path / "results.json").read_text())["results"]
    assert found["lacks"] == remarks


def test_files_that_could_not_be_read_are_lacking_too(convert_set):
    (line,) = lacks(convert_set(bad=True))
    assert line.startswith("files left out: 1, first ")
    assert "c.png" in line


def test_nothing_is_said_of_a_whole_set_or_of_a_folder(convert_set, score, tmp_path):
    path = convert_set()
    assert lacks(path) == lacks(tmp_path) == ()
    assert lacks_note("homography", ()) == []
    assert "not whole" not in markdown_table(score(path))


def test_a_set_is_found_below_the_folder_of_all_sets_or_is_that_folder(tmp_path):
    (tmp_path / "pose/set").mkdir(parents=True)
    assert find_set(tmp_path, "pose/set", anywhere=False) == tmp_path / "pose/set"
    assert find_set(tmp_path / "pose", "pose/set", anywhere=True) == tmp_path / "pose"
    with pytest.raises(FileNotFoundError, match="pose/pose/set: no such folder; --data must"):
        find_set(tmp_path / "pose", "pose/set", anywhere=False)
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder; .* holds it"):
        find_set(tmp_path / "nowhere", "", anywhere=True)


def test_names_of_pairs_are_there_and_differ(tmp_path):
    check_names(tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match="wanted at least one pair"):
        check_names(tmp_path, [])
    with pytest.raises(ValueError, match="two pairs have the same name"):
        check_names(tmp_path, ["a", "b", "a"])


@pytest.mark.parametrize(("name", "answer"), [("a.h5", True), ("a.HDF5", True), ("a", False)])
def test_a_converted_set_is_known_by_its_suffix(tmp_path, name, answer):
    assert is_converted(tmp_path / name) is answer
