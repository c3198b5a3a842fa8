import json

import numpy as np
import pytest

from data_scripts.conversion import convert
from data_scripts.dataset import open_dataset
from data_scripts.pairs_from_depth import Choice, plan, score_folder, write_list
from data_scripts.rgbd_folders import find_scans
from tests.data_scripts.dataset_files import draw_depth, draw_image
from tests.shared_data import shared

K = np.array([[100, 0, 79.5], [0, 100, 59.5], [0, 0, 1.0]])
SIZE = (120, 160)
STEPS = (0.0, 0.8, 1.6, 8.0)  # metres to the right of a wall at 2 m: 40, 80, 400 px


def c2w(x):
    T = np.eye(4)
    T[0, 3] = x
    return T


def python_export(folder):
    """A scan as ScanNet's Python reader writes it; frame 4 has lost tracking."""
    for n, x in enumerate((*STEPS, np.inf)):
        draw_image(folder / "color" / f"{n}.jpg", n, SIZE)
        draw_depth(folder / "depth" / f"{n}.png", 2, SIZE)
        (folder / "pose").mkdir(exist_ok=True)
        np.savetxt(folder / "pose" / f"{n}.txt", c2w(x))
    (folder / "intrinsic").mkdir()
    for kind in ("color", "depth"):
        np.savetxt(folder / "intrinsic" / f"intrinsic_{kind}.txt", K)


def flat_export(folder):
    """The same scan in the names of 7-Scenes, without intrinsics."""
    for n, x in enumerate(STEPS):
        draw_image(folder / f"frame-{n:06d}.color.png", n, SIZE)
        draw_depth(folder / f"frame-{n:06d}.depth.png", 2, SIZE)
        np.savetxt(folder / f"frame-{n:06d}.pose.txt", c2w(x))


def flat_export_with_info(folder):
    flat_export(folder)
    square = np.eye(4)
    square[:3, :3] = K
    numbers = " ".join(map(str, square.ravel()))
    names = ("m_calibrationColorIntrinsic", "m_calibrationDepthIntrinsic")
    lines = [f"{name} = {numbers}" for name in names]
    (folder / "_info.txt").write_text("\n".join(["m_versionNumber = 4", *lines]))


def frames_list(folder):
    rows = []
    for n, x in enumerate(STEPS):
        draw_image(folder / f"{n}.jpg", n, SIZE)
        draw_depth(folder / f"{n}.png", 2, SIZE)
        row = {"image": f"{n}.jpg", "depth": f"{n}.png", "T_c2w": c2w(x).tolist(), "K": K.tolist()}
        rows.append(row)
    (folder / "frames.json").write_text(json.dumps(rows))


LAYOUTS = [python_export, flat_export, flat_export_with_info, frames_list]


@pytest.fixture(params=LAYOUTS, ids=lambda layout: layout.__name__)
def scan(request, tmp_path):
    folder = tmp_path / "scans" / "room"
    folder.mkdir(parents=True)
    request.param(folder)
    return folder.parent


def test_every_layout_gives_the_same_pairs_with_their_overlaps(scan):
    (scored,) = score_folder(scan, Choice(), K)
    # 40 px of 160 are lost between neighbours, 80 between the first and the third
    frames = [pair.frames for pair in scored.pairs]
    assert sorted(frames) == [(0, 1), (0, 2), (1, 2)]
    assert frames[-1] == (0, 2)
    overlaps = [pair.overlap for pair in scored.pairs]
    assert overlaps == pytest.approx([0.75, 0.75, 0.5], abs=0.03)
    np.testing.assert_allclose(scored.pairs[-1].T_0to1[:3, 3], [-1.6, 0, 0])


def test_overlaps_outside_the_range_and_frames_between_are_left_out(scan):
    (scored,) = score_folder(scan, Choice(min_overlap=0.4, max_overlap=0.6), K)
    assert [pair.frames for pair in scored.pairs] == [(0, 2)]
    (scored,) = score_folder(scan, Choice(every=2), K)
    assert [pair.overlap for pair in scored.pairs] == pytest.approx([0.5], abs=0.03)
    (scored,) = score_folder(scan, Choice(max_pairs=2), K)
    assert len(scored.pairs) == 2


def test_the_data_set_holds_depth_poses_and_overlaps(scan, tmp_path):
    scored = score_folder(scan, Choice(), K)
    convert(plan(scored, scan), tmp_path / "set.h5")
    with open_dataset(tmp_path / "set.h5") as data:
        assert data.image_count == 3  # the far frame is in no pair
        pair = data[2]
        assert pair.overlap == pytest.approx(0.5, abs=0.03)
        np.testing.assert_allclose(pair.T_0to1[:3, 3], [-1.6, 0, 0])
        np.testing.assert_array_equal(pair.image0.K, K)
        assert pair.image0.depth()[5, 5] == 2
        assert data.groups == ["room"]


def test_the_list_reads_back_and_scores_the_same(scan, tmp_path):
    scored = score_folder(scan, Choice(), K)
    write_list(scored, tmp_path / "pairs.json")
    rows = json.loads((tmp_path / "pairs.json").read_text())
    assert [row["overlap"] for row in rows] == pytest.approx(
        [p.overlap for p in scored[0].pairs], abs=1e-4
    )
    assert all((tmp_path / row["image0"]).exists() for row in rows)
    (again,) = score_folder(tmp_path, Choice())[:1]
    assert [p.overlap for p in again.pairs] == [p.overlap for p in scored[0].pairs]


def test_chained_motions_bring_the_pairs_that_a_list_leaves_out(tmp_path):
    frames_list(tmp_path)
    write_list(score_folder(tmp_path, Choice(min_overlap=0.6)), tmp_path / "pairs.json")
    (tmp_path / "frames.json").unlink()
    (listed,) = score_folder(tmp_path, Choice())
    assert sorted(pair.frames for pair in listed.pairs) == [(0, 1), (1, 2)]
    (scored,) = score_folder(tmp_path, Choice(chain=True))
    assert sorted(pair.frames for pair in scored.pairs) == [(0, 1), (0, 2), (1, 2)]
    assert scored.pairs[-1].overlap == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(scored.pairs[-1].T_0to1[:3, 3], [-1.6, 0, 0], atol=1e-9)


def test_frames_without_a_finite_pose_are_counted(tmp_path):
    python_export(tmp_path)
    (found,) = find_scans(tmp_path)
    assert (len(found.frames), found.lost) == (4, 1)


def test_a_scan_without_intrinsics_says_which_option_gives_them(tmp_path):
    flat_export(tmp_path)
    with pytest.raises(ValueError, match="--intrinsics fx fy cx cy"):
        find_scans(tmp_path)


def test_what_is_no_scan_is_told_with_the_layouts(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"frames.json.*SensReader"):
        find_scans(tmp_path)
    frames_list(tmp_path)
    with pytest.raises(ValueError, match="no two frames overlap"):
        score_folder(tmp_path, Choice(min_overlap=0.99))


@pytest.mark.parametrize(
    "change",
    [{"image": 3}, {"T_c2w": [[1]]}, {"K": "x"}, {"Kd": [[1, 2, 3]]}],
    ids=str,
)
def test_a_broken_list_of_frames_is_named(tmp_path, change):
    frames_list(tmp_path)
    rows = json.loads((tmp_path / "frames.json").read_text())
    (tmp_path / "frames.json").write_text(json.dumps([rows[0], rows[1] | change]))
    with pytest.raises(ValueError, match=r"frames.json, frame 1: wanted"):
        find_scans(tmp_path)


@pytest.mark.parametrize(
    "values", [{"min_overlap": 0.7, "max_overlap": 0.5}, {"every": 0}, {"max_pairs": 0}]
)
def test_impossible_choices_are_refused(values):
    with pytest.raises(ValueError, match=r"must be|least"):
        Choice(**values)


def test_overlaps_of_real_scans_agree_with_those_of_their_list():
    raw = shared("data/pose/7scenes_redkitchen")
    wanted = {
        (r["image0"], r["image1"]): r["overlap"]
        for r in json.loads((raw / "pairs.json").read_text())
    }
    (scored,) = score_folder(raw, Choice(min_overlap=0))
    names = [frame.image.name for frame in scored.scan.frames]
    errors = [
        pair.overlap - wanted[names[pair.frames[0]], names[pair.frames[1]]] for pair in scored.pairs
    ]
    assert len(errors) == len(wanted) == 58
    # the list was scored with another tolerance, on another grid
    assert np.abs(errors).mean() < 0.02


def test_redwood_frames_overlap_almost_wholly():
    (scored,) = score_folder(shared("data/pose/redwood5"), Choice(min_overlap=0))
    assert len(scored.pairs) == 10
    assert min(pair.overlap for pair in scored.pairs) > 0.8
