"""KITTI 2012 and 2015 stereo: the training pairs, calibrated where the calibration is there."""

from pathlib import Path

import numpy as np

from data_scripts.catalogue import KITTI_2012, KITTI_2015, SetFacts
from data_scripts.disparity_files import KITTI_SCALE
from data_scripts.kitti import KittiFiles, find_pairs
from data_scripts.plan import ImageSource, MapSource, Plan, PlanBuilder
from data_scripts.planners.raw_files import existing_folder, info, numbers, read_calibration

FULL = {"KITTI 2015": 200, "KITTI 2012": 194}
# folder of the calibration, names of the projections of the left and right colour camera
CALIBRATION = {
    "KITTI 2015": ("calib_cam_to_cam", "P_rect_02", "P_rect_03"),
    "KITTI 2012": ("calib", "P2", "P3"),
}


def plan(raw: Path) -> Plan:
    """The labelled pairs of `raw`, the folder `training` or the one that holds it."""
    existing_folder(raw, KITTI_2015)
    try:
        found = find_pairs(raw)
    except FileNotFoundError as error:
        raise FileNotFoundError(KITTI_2015.missing(str(error))) from error
    facts = KITTI_2015 if not found or found[0].left.parent.name == "image_2" else KITTI_2012
    if not found:
        raise FileNotFoundError(facts.missing(f"{raw}: wanted disparities *_10.png, got none"))
    builder = PlanBuilder()
    for files in found:
        _add(builder, files, facts)
    return builder.plan(info(facts, split="training"), _remarks(found, facts))


def _add(builder: PlanBuilder, files: KittiFiles, facts: SetFacts) -> None:
    cameras = _cameras(files, facts)
    maps = [MapSource("disparity", "integers", (str(files.disp),), unit=1 / KITTI_SCALE)]
    if files.disp_seen_by_both is not None:
        both = str(files.disp), str(files.disp_seen_by_both)
        maps.append(MapSource("occlusion", "two disparities", both))
    objects = files.disp.parents[1] / "obj_map" / files.disp.name
    if objects.exists():
        maps.append(MapSource("objects", "integers", (str(objects),)))
    left, right = (
        builder.image(
            ImageSource(
                name=f"{path.parent.name}/{path.name}",
                path=str(path),
                K=None if cameras is None else cameras[side][:, :3],
                maps=tuple(maps) if side == 0 else (),
            )
        )
        for side, path in enumerate((files.left, files.right))
    )
    values = {}
    if cameras is not None:
        focal = cameras[0][0, 0]
        values["focal_px"] = focal
        values["baseline_m"] = (cameras[0][0, 3] - cameras[1][0, 3]) / focal
        values["doffs_px"] = cameras[1][0, 2] - cameras[0][0, 2]
    builder.pair(left, right, facts.name, **values)


def _cameras(files: KittiFiles, facts: SetFacts) -> tuple[np.ndarray, np.ndarray] | None:
    """Projections (3, 4) of the left and right camera, in metres; None without a calibration."""
    folder, *names = CALIBRATION[facts.name]
    frame = files.left.name.split("_")[0]
    for base in (files.left.parents[1], files.left.parents[2]):
        path = base / folder / f"{frame}.txt"
        if path.exists():
            values = read_calibration(path)
            left, right = (numbers(values.get(n, ""), 12, path).reshape(3, 4) for n in names)
            return left, right
    return None


def _remarks(found: list[KittiFiles], facts: SetFacts) -> list[str]:
    remarks = []
    full = FULL[facts.name]
    if len(found) < full:
        remarks.append(facts.missing(f"{full - len(found)} of {full} labelled pairs missing"))
    lacking = sum(files.disp_seen_by_both is None for files in found)
    if lacking:
        folder = "disp_noc_0" if facts is KITTI_2015 else "disp_noc"
        remarks.append(
            f"{lacking} pairs lack {folder}: without it no pixel is known to be occluded"
        )
    if _cameras(found[0], facts) is None:
        remarks.append(
            f"no {CALIBRATION[facts.name][0]}: the pairs get no focal length and baseline"
        )
    return remarks
