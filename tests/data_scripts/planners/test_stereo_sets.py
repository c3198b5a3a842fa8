"""SceneFlow, KITTI, Middlebury and ETH3D: samples in their own layouts, and layouts drawn here."""

import cv2
import numpy as np
import pytest

from data_scripts import kitti as kitti_reader
from data_scripts import middlebury as middlebury_reader
from data_scripts import sceneflow as sceneflow_reader
from data_scripts import schema
from data_scripts.conversion import convert
from data_scripts.dataset import open_dataset
from data_scripts.disparity_files import write_kitti_disparity, write_pfm
from data_scripts.planners import kitti, middlebury, sceneflow
from tests.data_scripts.dataset_files import draw_image
from tests.shared_data import shared

SIZE = (24, 32)


def grey(path, value, size=SIZE, dtype=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full(size, value, dtype))
    return path


def pfm(path, value, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full(size, value, np.float32)
    values[0, 0] = np.inf
    write_pfm(path, values)
    return path


def converted(plan, folder):
    convert(plan, folder / "set.h5")
    return open_dataset(folder / "set.h5")


def known(disp):
    return np.where(np.isfinite(disp), disp, 0)


@pytest.mark.parametrize(
    ("layout", "planner", "reader"),
    [
        ("SCENE_FLOW", lambda raw: sceneflow.plan(raw, "clean"), sceneflow_reader),
        ("KITTI_2015", kitti.plan, kitti_reader),
        ("MIDDLEBURY_2014", middlebury.plan, middlebury_reader),
    ],
)
def test_a_real_sample_converts_to_what_its_reader_reads(tmp_path, layout, planner, reader):
    raw = shared(f"data/stereo/layouts/{layout}")
    found = reader.find_pairs(raw, *(["clean"] if layout == "SCENE_FLOW" else []))
    wanted = reader.read_pair(found[0])
    with converted(planner(raw), tmp_path) as data:
        (pair,) = data
        np.testing.assert_array_equal(known(pair.image0.disparity()), wanted.disp.numpy())
        assert pair.image0.rgb().shape[:2] == wanted.left.shape[1:]
        if pair.image1.disparity() is not None:
            right = known(pair.image1.disparity())
            np.testing.assert_array_equal(right, wanted.disp_right.numpy())
        codes = pair.image0.occlusion()
        if codes is not None:  # the reader adds what leaves the image
            occluded = (codes == schema.OCCLUDED) & wanted.known.numpy()
            assert wanted.occluded.numpy()[occluded].all()
            assert occluded.any()


def test_middlebury_sample_has_its_calibration(tmp_path):
    with converted(
        middlebury.plan(shared("data/stereo/layouts/MIDDLEBURY_2014")), tmp_path
    ) as data:
        pair = data[0]
        # calib.txt: cam0=[999.421 ...], baseline=193.001 (mm), doffs=32.778, ndisp=70
        assert (pair.focal_px, pair.doffs_px, pair.ndisp) == (999.421, 32.778, 70)
        assert pair.baseline_m == pytest.approx(0.193001)


def draw_kitti(root, names=("image_2", "image_3", "disp_occ_0", "disp_noc_0")):
    left, right, occ, noc = (root / "training" / name for name in names)
    for n in range(2):
        name = f"{n:06d}_10.png"
        draw_image(left / name, n)
        draw_image(right / name, 10 + n)
        disp = np.full(SIZE, 20.5, np.float32)
        disp[0] = np.inf
        for folder in (occ, noc):
            folder.mkdir(exist_ok=True)
            write_kitti_disparity(folder / name, disp)
            disp[1] = np.inf  # in the second folder: known, but occluded
    return root


def test_kitti_2015_has_masks_objects_and_calibration(tmp_path):
    root = draw_kitti(tmp_path / "raw")
    training = root / "training"
    for n in range(2):
        grey(training / "obj_map" / f"{n:06d}_10.png", 3)
        calibration = training / "calib_cam_to_cam" / f"{n:06d}.txt"
        calibration.parent.mkdir(exist_ok=True)
        calibration.write_text(
            "calib_time: 09-Jan-2012\nP_rect_02: 700 0 600 42 0 700 180 0 0 0 1 0\n"
            "P_rect_03: 700 0 600 -343 0 700 180 0 0 0 1 0\n"
        )
    with converted(kitti.plan(root), tmp_path) as data:
        pair = data[1]
        assert data.info.dataset == "KITTI 2015"
        assert "198 of 200" in data.info.missing
        disp, codes = pair.image0.disparity(), pair.image0.occlusion()
        assert np.isinf(disp[0]).all()
        assert (disp[1:] == 20.5).all()
        rows = [schema.UNKNOWN, schema.OCCLUDED, schema.SEEN_BY_BOTH]
        assert [np.unique(codes[n]).tolist() for n in range(3)] == [[code] for code in rows]
        assert (pair.image0.objects() == 3).all()
        # the cameras are 42 + 343 apart in units of a focal length of 700
        assert (pair.focal_px, pair.baseline_m) == (700, pytest.approx(0.55))
        np.testing.assert_array_equal(pair.image1.K, [[700, 0, 600], [0, 700, 180], [0, 0, 1]])


def test_kitti_2012_is_known_by_its_folders(tmp_path):
    root = draw_kitti(tmp_path / "raw", ("colored_0", "colored_1", "disp_occ", "disp_noc"))
    with converted(kitti.plan(root), tmp_path) as data:
        assert data.info.dataset == "KITTI 2012"
        assert len(data) == 2


def draw_sceneflow(root, name, sign=1.0):
    for side, shift in (("left", 1), ("right", -1)):
        folder, file = name.replace("left", side).rsplit("/", 1)
        draw_image(root / "frames_finalpass" / folder / f"{file}.png", 1)
        pfm(root / "disparity" / folder / f"{file}.pfm", 5.0 * shift * sign)
    return root


def test_sceneflow_finds_every_set_below_a_folder_and_its_split(tmp_path):
    raw = tmp_path / "raw"
    draw_sceneflow(raw / "FlyingThings3D", "TRAIN/A/0000/left/0006")
    draw_sceneflow(raw / "FlyingThings3D", "TEST/A/0000/left/0006")
    draw_sceneflow(raw / "Monkaa", "a_rain_of_stones_x2/left/0000")
    with converted(sceneflow.plan(raw, "final"), tmp_path) as data:
        assert [pair.group for pair in data] == ["FlyingThings3D", "FlyingThings3D", "Monkaa"]
        disps = [image.disparity()[1:] for image in data.images()]
        assert all((disp == 5).all() for disp in disps)  # of either sign in the files
        assert np.isinf(data.image(0).disparity()[0, 0])
        assert "22389 of 22390 pairs of FlyingThings3D train" in data.info.missing
    assert len(sceneflow.plan(raw, "final", "test").pairs) == 1
    assert len(sceneflow.plan(raw, "final", "train").pairs) == 2
    with pytest.raises(FileNotFoundError, match=r"frames_cleanpass.*SceneFlow comes from"):
        sceneflow.plan(raw, "clean")


def test_sceneflow_subset_has_its_masks_and_leaves_out_a_list(tmp_path):
    raw = tmp_path / "FlyingThings3D_subset"
    for n in range(2):
        for side in ("left", "right"):
            base = raw / "val"
            draw_image(base / "image_final" / side / f"{n:07d}.png", n)
            pfm(base / "disparity" / side / f"{n:07d}.pfm", -3.0)
            grey(base / "disparity_occlusions" / side / f"{n:07d}.png", 255 * n)
    with converted(sceneflow.plan(raw, "final", "test"), tmp_path) as data:
        codes = [np.unique(pair.image0.occlusion()).tolist() for pair in data]
        assert codes == [[schema.SEEN_BY_BOTH], [schema.OCCLUDED]]
        assert data.groups == ["FlyingThings3D_subset"]
    left = sceneflow.plan(raw, "final", "test", ["left/0000001.png\n"])
    assert left.images[0].name.endswith("left/0000000.png")
    assert len(left.pairs) == 1


@pytest.mark.parametrize(
    ("names", "folder", "width", "scale"),
    [
        (("im2.ppm", "im6.ppm", "disp2.pgm", "disp6.pgm"), "venus", 434, 8),
        (("im2.png", "im6.png", "disp2.png", "disp6.png"), "teddy", 450, 4),
        (("im2.png", "im6.png", "disp2.png", "disp6.png"), "teddyH", 900, 2),
        (("view1.png", "view5.png", "disp1.png", "disp5.png"), "Art", 463, 3),
        (("view1.png", "view5.png", "disp1.png", "disp5.png"), "Books", 695, 2),
        (("view1.png", "view5.png", "disp1.png", "disp5.png"), "FullSize/Aloe", 32, 1),
        (
            ("scene1.row3.col3.ppm", "scene1.row3.col4.ppm", "truedisp.row3.col3.pgm", ""),
            "tsukuba",
            384,
            16,
        ),
    ],
)
def test_older_middlebury_disparities_are_divided_by_their_scale(
    tmp_path, names, folder, width, scale
):
    scene = tmp_path / "raw" / folder
    for n, name in enumerate(names[:2]):
        draw_image(scene / name, n, (4, width))
    for name in filter(None, names[2:]):
        grey(scene / name, 48, (4, width))
    with converted(middlebury.plan(tmp_path / "raw"), tmp_path) as data:
        assert (data[0].image0.disparity() == 48 / scale).all()
        assert data.groups == [folder]


def test_middlebury_views_below_illuminations_find_their_disparity_above(tmp_path):
    scene = tmp_path / "raw" / "ThirdSize" / "Art"
    for n, name in enumerate(("view1.png", "view5.png")):
        draw_image(scene / "Illum1" / "Exp0" / name, n, (4, 463))
    grey(scene / "disp1.png", 30, (4, 463))
    with converted(middlebury.plan(tmp_path / "raw"), tmp_path) as data:
        assert (data[0].image0.disparity() == 10).all()
        assert data[0].image1.disparity() is None


def test_eth3d_is_told_from_middlebury_and_scenes_without_truth_are_counted(tmp_path):
    for name, has_truth in (("delivery_area_1l", True), ("facade_1s", False)):
        scene = tmp_path / "raw" / name
        for n in range(2):
            draw_image(scene / f"im{n}.png", n)
        if has_truth:
            pfm(scene / "disp0GT.pfm", 4.0)
            grey(scene / "mask0nocc.png", 128)
    with converted(middlebury.plan(tmp_path / "raw", eth3d=True), tmp_path) as data:
        assert data.info.dataset == "ETH3D two-view"
        assert "1 scenes without" in data.info.missing
        assert "eth3d.net" in data.info.missing
        assert (data[0].image0.occlusion() == schema.OCCLUDED).all()


@pytest.mark.parametrize("planner", [sceneflow.plan, kitti.plan, middlebury.plan])
def test_an_empty_or_absent_folder_is_told_with_the_source_and_the_licence(tmp_path, planner):
    for raw in (tmp_path, tmp_path / "absent"):
        with pytest.raises(FileNotFoundError, match=r"comes from http.*GB.*licence"):
            planner(raw)


def test_a_broken_calibration_is_named(tmp_path):
    scene = tmp_path / "scene"
    for n in range(2):
        draw_image(scene / f"im{n}.png", n)
    pfm(scene / "disp0.pfm", 4.0)
    (scene / "calib.txt").write_text("cam0=[1 0 0; 0 1]\n")
    with pytest.raises(ValueError, match=r"calib.txt: wanted 9 finite numbers"):
        middlebury.plan(tmp_path)
