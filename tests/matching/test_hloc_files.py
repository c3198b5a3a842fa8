import h5py
import numpy as np
import pytest

from matching import __main__ as command
from matching.hloc_files import write_hloc
from matching.keypoint_merging import merge_scene
from matching.matches import Matches
from matching.shards import PairResult, shard_path, write_shard
from tests.command_checks import assert_told_in_one_line

RNG = np.random.default_rng(0)


def some_result(image0, image1, count=40):
    kpts = RNG.integers(0, 1000, (2, count, 2)).astype(np.float32) / 10
    sure = np.sort(RNG.random(count).astype(np.float32))[::-1]
    return PairResult(image0, image1, (100, 120), (100, 120), Matches(kpts[0], kpts[1], sure))


def matches_as_hloc_reads_them(path, name0, name1):
    """What `get_matches` of hloc/utils/io.py does, told in our words."""
    with h5py.File(path, "r") as file:
        reverse = False
        group = "/".join(name.replace("/", "-") for name in (name0, name1))
        if group not in file:
            group, reverse = "/".join(n.replace("/", "-") for n in (name1, name0)), True
        partner = file[group]["matches0"].__array__()
        scores = file[group]["matching_scores0"].__array__()
    index = np.where(partner != -1)[0]
    both = np.stack([index, partner[index]], -1)
    return both[:, ::-1] if reverse else both, scores[index]


def names_as_hloc_lists_them(path):
    names = set()
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda _, item: (
                names.add(item.parent.name.strip("/")) if isinstance(item, h5py.Dataset) else None
            )
        )
    return names


def test_hloc_reads_the_same_key_points_and_matches(tmp_path):
    results = [some_result("db/a.jpg", "db/b.jpg"), some_result("q/x/c.jpg", "db/a.jpg")]
    scene = merge_scene(results, 1.0)
    features, matches, pairs = write_hloc(tmp_path, scene)
    assert names_as_hloc_lists_them(features) == {"db/a.jpg", "db/b.jpg", "q/x/c.jpg"}
    with h5py.File(features, "r") as file:
        for name, image in scene.images.items():
            keypoints = file[name]["keypoints"].__array__()
            assert keypoints.dtype == np.float32
            np.testing.assert_array_equal(keypoints, image.keypoints)
    assert pairs.read_text() == "db/a.jpg db/b.jpg\nq/x/c.jpg db/a.jpg\n"
    for pair in scene.pairs:
        got, scores = matches_as_hloc_reads_them(matches, pair.image0, pair.image1)
        assert {*map(tuple, got.tolist())} == {*map(tuple, pair.index.tolist())}
        assert scores.dtype == np.float16
        turned, _ = matches_as_hloc_reads_them(matches, pair.image1, pair.image0)
        np.testing.assert_array_equal(turned, got[:, ::-1])
        for column in got.T:
            assert len(set(column)) == len(column)


def test_names_that_hloc_cannot_tell_apart_are_told(tmp_path):
    results = [some_result("a/b.jpg", "c.jpg"), some_result("a-b.jpg", "c.jpg")]
    with pytest.raises(ValueError, match=r"have the name a-b\.jpg/c\.jpg in hloc"):
        write_hloc(tmp_path, merge_scene(results, 1.0))
    with pytest.raises(ValueError, match="rename the image"):
        write_hloc(tmp_path, merge_scene([some_result("a b.jpg", "c.jpg")], 1.0))


def test_the_command_exports_a_run(tmp_path, capsys):
    write_shard(shard_path(tmp_path / "run", 0), [some_result("a.jpg", "b.jpg")])
    words = ["export", "hloc", "--matches", str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    assert command.main(words) == 0
    assert capsys.readouterr().out.startswith("2 images, ")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "features.h5",
        "matches.h5",
        "pairs.txt",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            [],
            "wanted python -m matching export hloc|colmap, or one of --onnx, --torch, got nothing",
        ),
        (
            ["bundler"],
            "wanted python -m matching export hloc|colmap, or one of --onnx, --torch, got bundler",
        ),
        (["hloc", "--matches", "none"], "none: there are no shards"),
        (["colmap", "--matches", "none"], "none: there are no shards"),
        (["colmap", "--matches", "none", "--out", "a.sql"], "a.sql: wanted a file name that ends"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert_told_in_one_line(command.main, ["export", *words], said, capsys)
