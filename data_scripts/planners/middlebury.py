"""Middlebury stereo from 2001 to 2021, the v3 benchmark, and ETH3D two-view.

Scenes from 2014 on, the benchmark and ETH3D hold im0.png, im1.png and PFM disparities. Older ones hold grey
disparities at several scales; which pair of views they belong to, and the scale, follow from the names:

    2001        im2, im6, disp2, disp6; 8 times the disparity (.ppm and .pgm), tsukuba 16 times
    2003        im2.png, im6.png, disp2.png, disp6.png; 4 times at quarter size, 2 at half, 1 at full
    2005, 2006  view1.png, view5.png, disp1.png, disp5.png; 3 times at third size, 2 at half, 1 at full
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_scripts.catalogue import ETH3D, MIDDLEBURY, SetFacts
from data_scripts.middlebury import MiddleburyFiles, find_pairs
from data_scripts.plan import ImageSource, MapSource, Plan, PlanBuilder
from data_scripts.planners.raw_files import existing_folder, info, numbers, read_calibration

MM = 0.001
# left image, right image, left disparity, right disparity
OLD_NAMES = (
    ("im2.ppm", "im6.ppm", "disp2.pgm", "disp6.pgm"),
    ("im2.png", "im6.png", "disp2.png", "disp6.png"),
    ("view1.png", "view5.png", "disp1.png", "disp5.png"),
    ("im0.pgm", "im1.pgm", "disp0.pgm", "disp1.pgm"),  # map
    ("scene1.row3.col3.ppm", "scene1.row3.col4.ppm", "truedisp.row3.col3.pgm", ""),  # tsukuba
)
TSUKUBA = 16
# stored values per pixel, of names of folders in lower case
SCALES = {"thirdsize": 3, "halfsize": 2, "fullsize": 1}
SCALE_2001 = 8
WIDEST = {
    "im2.png": ((500, 4), (1000, 2), (10**9, 1)),
    "view1.png": ((500, 3), (800, 2), (10**9, 1)),
}
TSUKUBA_NAME = "scene1.row3.col3.ppm"


@dataclass(frozen=True)
class OldScene:
    """A scene from before 2014; index 0 is the left image."""

    images: tuple[Path, Path]
    disps: tuple[Path, Path | None]
    scale: int  # stored values per pixel


def plan(raw: Path, eth3d: bool = False) -> Plan:
    """Every scene with a left disparity at or below `raw`."""
    facts = ETH3D if eth3d else MIDDLEBURY
    existing_folder(raw, facts)
    builder = PlanBuilder()
    old = [] if eth3d else _old_scenes(raw)
    try:
        recent: Sequence[MiddleburyFiles] = find_pairs(raw)
    except FileNotFoundError as error:
        if not old:
            raise FileNotFoundError(facts.missing(str(error))) from error
        recent = ()
    for files in recent:
        _add_recent(builder, files, raw)
    for scene in old:
        _add_old(builder, scene, raw)
    return builder.plan(info(facts, split="training"), _remarks(raw, recent, facts))


def _add_recent(builder: PlanBuilder, files: MiddleburyFiles, raw: Path) -> None:
    sides = []
    for image, disp, mask in zip(files.images, files.disps, files.masks, strict=True):
        maps = []
        if disp is not None:
            maps.append(MapSource("disparity", "pfm", (str(disp),)))
        if mask is not None:
            maps.append(MapSource("occlusion", "coded mask", (str(mask),)))
        sides.append((image, maps))
    folder = files.images[0].parent
    _add(builder, sides, raw, _calibration(folder / "calib.txt"))


def _add_old(builder: PlanBuilder, scene: OldScene, raw: Path) -> None:
    sides = []
    for image, disp in zip(scene.images, scene.disps, strict=True):
        maps = []
        if disp is not None:
            maps.append(MapSource("disparity", "integers", (str(disp),), unit=1 / scene.scale))
        sides.append((image, maps))
    _add(builder, sides, raw, {})


def _add(
    builder: PlanBuilder,
    sides: Sequence[tuple[Path, list[MapSource]]],
    raw: Path,
    values: dict[str, float],
) -> None:
    base = raw if sides[0][0].parent != raw else raw.parent
    left, right = (
        builder.image(ImageSource(path.relative_to(base).as_posix(), str(path), maps=tuple(maps)))
        for path, maps in sides
    )
    builder.pair(left, right, sides[0][0].parent.relative_to(base).as_posix(), **values)


def _calibration(path: Path) -> dict[str, float]:
    """Values of a pair in calib.txt, none where that is missing."""
    if not path.exists():
        return {}
    found = read_calibration(path)
    values = {}
    if "cam0" in found:
        values["focal_px"] = numbers(found["cam0"], 9, path)[0]
    for field, name, unit in (("baseline_m", "baseline", MM), ("doffs_px", "doffs", 1)):
        if name in found:
            values[field] = numbers(found[name], 1, path)[0] * unit
    if "ndisp" in found:
        values["ndisp"] = int(numbers(found["ndisp"], 1, path)[0])
    return values


def _old_scenes(raw: Path) -> list[OldScene]:
    return [
        scene
        for names in OLD_NAMES
        for left in sorted(raw.rglob(names[0]))
        if (scene := _old_scene(left, names)) is not None
    ]


def _old_scene(left: Path, names: tuple[str, str, str, str]) -> OldScene | None:
    """The scene of `left`; None where its right image or its disparity is missing.

    The scenes of 2005 and 2006 keep their views in folders of illumination and exposure below it.
    """
    folder = left.parent
    homes = [folder, *folder.parents[:2]] if names[0] == "view1.png" else [folder]
    right = folder / names[1]
    for home in homes:
        disp, other = home / names[2], home / names[3]
        if right.exists() and disp.exists():
            has_right = bool(names[3]) and other.exists()
            return OldScene((left, right), (disp, other if has_right else None), _scale(left))
    return None


def _scale(left: Path) -> int:
    """Stored values per pixel of disparity: of a folder name that tells the size, else of the width."""
    if left.name == TSUKUBA_NAME:
        return TSUKUBA
    if left.suffix != ".png":
        return SCALE_2001
    for part in reversed(left.parts[:-1]):
        if part.lower() in SCALES:
            return SCALES[part.lower()]
    width = _width(left)
    return next(scale for limit, scale in WIDEST[left.name] if width <= limit)


def _width(path: Path) -> int:
    from data_scripts.image_files import read_image

    return int(read_image(path).shape[1])


def _remarks(raw: Path, recent: Sequence[MiddleburyFiles], facts: SetFacts) -> list[str]:
    found = {files.images[0].parent for files in recent}
    without = [path.parent for path in raw.rglob("im0.png") if path.parent not in found]
    remarks = []
    if without:
        named = ", ".join(path.name for path in without[:3])
        text = f"{len(without)} scenes without im1.png or a left disparity, first {named}"
        remarks.append(facts.missing(text))
    masks = sum(files.masks[0] is None for files in recent)
    if masks:
        remarks.append(f"{masks} scenes lack mask0nocc.png: what is occluded there is not told")
    return remarks
