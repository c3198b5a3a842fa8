"""ScanNet, MegaDepth, lists in SuperGlue's format: their real indices, and layouts drawn here."""

import pickle

import h5py
import numpy as np
import pytest

from data_scripts.conversion import convert
from data_scripts.dataset import open_dataset
from data_scripts.megadepth import read_pairs as read_megadepth
from data_scripts.planners import megadepth, scannet, scannet_sample
from data_scripts.scannet import read_pairs as read_scannet
from tests.data_scripts.dataset_files import draw_depth, draw_image
from tests.shared_data import shared

POSE = np.array([[1, 0, 0, -0.5], [0, 1, 0, 0], [0, 0, 1, 0]])
K = np.array([[500, 0, 320], [0, 480, 240], [0, 0, 1.0]])


def converted(plan, folder):
    convert(plan, folder / "set.h5")
    return open_dataset(folder / "set.h5")


def draw_scan(root, scene="scene0007_01", frames=(0, 15), poses=True):
    """Frames of half the colour camera's size; camera n stands n / 10 m to the right."""
    for frame in frames:
        draw_image(root / scene / "color" / f"{frame}.jpg", frame, (484, 648))
        draw_depth(root / scene / "depth" / f"{frame}.png", 3, (48, 64))
        if poses:
            T_c2w = np.eye(4)
            T_c2w[0, 3] = frame / 10
            (root / scene / "pose").mkdir(exist_ok=True)
            np.savetxt(root / scene / "pose" / f"{frame}.txt", T_c2w)
    (root / scene / "intrinsic").mkdir(exist_ok=True)
    np.savetxt(root / scene / "intrinsic" / "intrinsic_color.txt", np.diag([7, 7, 1.0, 1]))
    np.savetxt(root / scene / "intrinsic" / "intrinsic_depth.txt", np.diag([5, 5, 1.0, 1]))


def write_index(root, names=((7, 1, 0, 15),), **arrays):
    np.savez(root / "test.npz", name=np.array(names, np.uint16), **arrays)


def test_scannet_pairs_have_the_pose_of_the_index_and_intrinsics_of_the_file(tmp_path):
    draw_scan(tmp_path)
    write_index(tmp_path, rel_pose=POSE.reshape(1, 12))
    np.savez(tmp_path / "intrinsics.npz", scene0007_01=K)
    with converted(scannet.plan(tmp_path), tmp_path) as data:
        (pair,) = data
        np.testing.assert_array_equal(pair.T_0to1[:3], POSE)
        # 648 / 640 and 484 / 480 times the intrinsics for 640 x 480
        wanted = [[506.25, 0, 324], [0, 484, 242], [0, 0, 1]]
        np.testing.assert_allclose(pair.image0.K, wanted)
        np.testing.assert_array_equal(pair.image1.T_w2c[:3, 3], [-1.5, 0, 0])
        assert pair.image0.depth()[9, 9] == pytest.approx(3)
        assert pair.image0.K_depth[0, 0] == 5
        assert pair.group == "scene0007_01"


def test_scannet_training_indices_have_scores_and_take_poses_from_the_scan(tmp_path):
    draw_scan(tmp_path, frames=(0, 15, 30))
    index = tmp_path / "pairs"
    index.mkdir()
    names = np.array([[7, 1, 0, 15], [7, 1, 15, 30], [7, 1, 0, 30]])
    np.savez(index / "scene0007_01.npz", name=names, score=np.array([0.9, 0.2, 0.5]))
    choice = scannet.Choice(pairs=index, min_overlap=0.4, depth=False)
    with converted(scannet.plan(tmp_path, choice), tmp_path) as data:
        assert [pair.overlap for pair in data] == pytest.approx([0.9, 0.5])
        np.testing.assert_allclose(data[1].T_0to1[:3, 3], [-3, 0, 0])
        np.testing.assert_array_equal(data[0].image0.K, np.diag([7, 7, 1.0]))
        assert data[0].image0.depth() is None


def test_scannet_frames_of_the_c_plus_plus_reader_are_found(tmp_path):
    scan = tmp_path / "scene0007_01"
    for frame in (0, 15):
        draw_image(scan / f"frame-{frame:06d}.color.jpg", frame, (484, 648))
        draw_depth(scan / f"frame-{frame:06d}.depth.pgm", 3, (48, 64))
        T_c2w = np.eye(4)
        T_c2w[0, 3] = frame / 10
        np.savetxt(scan / f"frame-{frame:06d}.pose.txt", T_c2w)
    numbers = " ".join(map(str, np.diag([7.0, 7, 1, 1]).ravel()))
    (scan / "_info.txt").write_text(f"m_calibrationColorIntrinsic = {numbers}\n")
    write_index(tmp_path)
    with converted(scannet.plan(tmp_path), tmp_path) as data:
        (pair,) = data
        assert pair.image1.name == "scene0007_01/frame-000015.color.jpg"
        np.testing.assert_allclose(pair.T_0to1[:3, 3], [-1.5, 0, 0])
        np.testing.assert_array_equal(pair.image0.K, np.diag([7.0, 7, 1]))
        assert pair.image0.depth()[9, 9] == pytest.approx(3)


def test_a_scan_that_tells_no_intrinsics_says_which_option_gives_them(tmp_path):
    draw_scan(tmp_path)
    (tmp_path / "scene0007_01" / "intrinsic" / "intrinsic_color.txt").unlink()
    write_index(tmp_path)
    with pytest.raises(ValueError, match="--intrinsics"):
        scannet.plan(tmp_path)


def test_scannet_frames_that_lost_tracking_are_left_out(tmp_path):
    draw_scan(tmp_path, frames=(0, 15, 30))
    (tmp_path / "scene0007_01" / "pose" / "15.txt").write_text("-inf " * 4 + "\n" + "0 0 0 1\n" * 3)
    write_index(tmp_path, names=((7, 1, 0, 15), (7, 1, 0, 30)))
    plan = scannet.plan(tmp_path)
    assert len(plan.pairs) == 1
    assert "1 frames have no finite pose" in plan.remarks[0]


def test_missing_scannet_frames_are_counted_and_their_pairs_left_out(tmp_path):
    draw_scan(tmp_path)
    write_index(
        tmp_path, ((7, 1, 0, 15), (7, 1, 0, 99)), rel_pose=np.tile(POSE.reshape(1, 12), (2, 1))
    )
    plan = scannet.plan(tmp_path)
    assert len(plan.pairs) == 1
    assert "1 frames missing" in plan.remarks[0]
    assert "99.jpg" in plan.remarks[0]


def test_the_real_scannet_index_converts_in_its_order_with_its_intrinsics(tmp_path):
    folder = shared("data/pose/scannet_test_1500")
    wanted = read_scannet(folder / "test.npz", folder / "intrinsics.npz")
    chosen = wanted[:3] + wanted[1497:]
    for pair in chosen:
        for frame in pair.frames:
            draw_image(tmp_path / pair.scene / "color" / f"{frame}.jpg", frame, (480, 640))
    plan = scannet.plan(tmp_path, scannet.Choice(pairs=folder / "test.npz"))
    with converted(plan, tmp_path) as data:
        assert len(data) >= len(chosen)  # frames may be shared with other pairs
        names = [pair.name for pair in data]
        for pair in chosen:
            ends = [f"{pair.scene}/color/{frame}" for frame in pair.frames]
            found = data[names.index("--".join(ends))]
            np.testing.assert_array_equal(found.T_0to1, pair.T_0to1)
            np.testing.assert_array_equal(found.image0.K, pair.K)


def write_scene(root, name="0015_0.1_0.3"):
    """A scene index as LoFTR's: a raw pickle with holes, and its two images with depth."""
    paths = np.empty(3, object)
    depths = np.empty(3, object)
    poses, intrinsics = np.empty(3, object), np.empty(3, object)
    for n in (0, 2):
        paths[n], depths[n] = f"Undistorted_SfM/0015/images/{n}.jpg", f"phoenix/{n}.h5"
        draw_image(root / paths[n], n)
        (root / "phoenix").mkdir(exist_ok=True)
        with h5py.File(root / depths[n], "w") as file:
            file["depth"] = np.full((24, 32), n + 1.0, np.float32)
        poses[n], intrinsics[n] = np.eye(4), K
    poses[2] = np.vstack([POSE, [0, 0, 0, 1]])
    index = {"image_paths": paths, "depth_paths": depths, "intrinsics": intrinsics}
    index |= {"poses": poses, "pair_infos": [((0, 2), 0.25, np.zeros((4, 2)))]}
    (root / f"{name}.npz").write_bytes(pickle.dumps(index))
    return root


def test_megadepth_pairs_have_depth_overlap_and_intrinsics_from_the_pixel_centre(tmp_path):
    with converted(megadepth.plan(write_scene(tmp_path)), tmp_path) as data:
        (pair,) = data
        assert pair.group == "0015_0.1_0.3"
        assert pair.overlap == pytest.approx(0.25)
        np.testing.assert_array_equal(pair.T_0to1[:3], POSE)
        np.testing.assert_array_equal(pair.image0.K, K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        assert (pair.image1.depth() == 3).all()
        assert "0.5 px" in data.info.notes


def test_megadepth_without_depth_is_converted_and_says_so(tmp_path):
    write_scene(tmp_path)
    (tmp_path / "phoenix" / "2.h5").unlink()
    plan = megadepth.plan(tmp_path)
    assert "1 depth maps missing" in plan.remarks[0]
    assert [len(image.maps) for image in plan.images] == [1, 0]


def test_the_real_megadepth_indices_convert_in_the_order_of_the_benchmark(tmp_path):
    folder = shared("data/pose/megadepth_test_1500")
    names = (folder / "megadepth_test_1500.txt").read_text().split()
    wanted = read_megadepth(folder / f"{names[0]}.npz")[0]
    last = read_megadepth(folder / f"{names[-1]}.npz")[-1]
    for pair in (wanted, last):
        for n, view in enumerate(pair.views):
            draw_image(tmp_path / view.image_path, n)
    plan = megadepth.plan(tmp_path, folder)
    assert len(plan.groups) >= 2
    assert plan.groups[0] == names[0]
    with converted(plan, tmp_path) as data:
        np.testing.assert_allclose(data[0].T_0to1, wanted.T_0to1)
        np.testing.assert_allclose(data[-1].T_0to1, last.T_0to1)
        np.testing.assert_array_equal(data[0].image0.K, wanted.views[0].K)


def test_a_hostile_megadepth_index_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return print, ("owned",)

    (tmp_path / "0015.npz").write_bytes(pickle.dumps({"poses": Hostile()}))
    with pytest.raises(ValueError, match=r"asks for builtins\.print"):
        megadepth.plan(tmp_path)


def test_the_real_scannet_sample_converts(tmp_path):
    raw = shared("data/pose/scannet_sample")
    with converted(scannet_sample.plan(raw), tmp_path) as data:
        assert len(data) == 5
        pair = data[0]
        path = raw / "images" / pair.image0.name
        assert pair.image0.encoded() == path.read_bytes()
        fields = (raw / "pairs_with_gt.txt").read_text().splitlines()[0].split()
        np.testing.assert_array_equal(pair.image1.K.ravel(), np.float64(fields[13:22]))
        np.testing.assert_array_equal(pair.T_0to1.ravel(), np.float64(fields[22:]))


def test_turns_of_a_list_are_kept_for_the_evaluation(tmp_path):
    for n in range(2):
        draw_image(tmp_path / f"{n}.jpg", n)
    matrices = [*K.ravel(), *K.ravel(), *np.eye(4).ravel()]
    line = " ".join(["0.jpg", "1.jpg", "0", "3", *map(str, matrices)])
    (tmp_path / "list.txt").write_text(f"{line}\n")
    with converted(scannet_sample.plan(tmp_path, tmp_path / "list.txt"), tmp_path) as data:
        assert data[0].turns == (0, 3)


@pytest.mark.parametrize("planner", [scannet.plan, megadepth.plan, scannet_sample.plan])
def test_an_empty_or_absent_folder_is_told_with_the_source_and_the_licence(tmp_path, planner):
    for raw in (tmp_path, tmp_path / "absent"):
        with pytest.raises(FileNotFoundError, match=r"comes from http.*B.*licence"):
            planner(raw)


def test_an_index_of_objects_is_refused_and_none_is_unpickled(tmp_path):
    names = np.array([{"a": 1}], object)
    np.savez(tmp_path / "test.npz", name=names)
    with pytest.raises(ValueError, match="plain arrays"):
        scannet.plan(tmp_path)
