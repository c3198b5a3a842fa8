"""SceneFlow: FlyingThings3D, its DispNet subset, Driving and Monkaa, in one render pass."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from data_scripts.catalogue import SCENEFLOW
from data_scripts.plan import ImageSource, MapSource, Plan, PlanBuilder
from data_scripts.planners.raw_files import existing_folder, info
from data_scripts.sceneflow import IMAGE_FOLDERS, SceneFlowFiles, find_pairs

DISPARITY = "disparity"
OCCLUSIONS = ("occlusion", "disparity_occlusions")  # STTR's layout, the DispNet subset
DEPTH = 3  # folders below the one given in which a disparity folder is looked for
SPLITS = {"TRAIN": "train", "TEST": "test", "train": "train", "val": "test"}  # names of folders
FULL = {("FlyingThings3D", "train"): 22390, ("FlyingThings3D", "test"): 4370}
FULL |= {("Driving", "train"): 4400, ("Monkaa", "train"): 8664}
Split = Literal["train", "test", "all"]


def plan(
    raw: Path, render_pass: str = "final", split: Split = "all", leave_out: Iterable[str] = ()
) -> Plan:
    """The pairs of every set below `raw`, sorted by path.

    Args:
        raw: a folder with `disparity` and images, or the folder of several such.
        render_pass: clean or final.
        split: FlyingThings3D's TRAIN or TEST (the subset's train and val); the others are all train.
        leave_out: ends of paths of left disparities or images that are not taken, such as the lines of
            all_unused_files.txt of the FlyingThings3D subset.
    """
    existing_folder(raw, SCENEFLOW)
    roots = [base for base in _bases(raw) if _has_images(base, render_pass)]
    if not roots:
        raise FileNotFoundError(
            SCENEFLOW.missing(
                f"{raw}: wanted {DISPARITY} and one of {', '.join(IMAGE_FOLDERS[render_pass])} in it "
                "or in a folder below it, got none"
            )
        )
    unwanted = {Path(line.strip()).with_suffix("").as_posix() for line in leave_out if line.strip()}
    builder, counts = PlanBuilder(), dict[tuple[str, str], int]()
    for root in roots:
        for files in find_pairs(root, render_pass):
            part = split_of(files.disps[0].relative_to(raw))
            if split not in ("all", part) or _is_listed(files, unwanted):
                continue
            group = _group(root, raw)
            counts[group, part] = counts.get((group, part), 0) + 1
            _add(builder, _with_occlusions(files, root), raw, group)
    return builder.plan(
        info(
            SCENEFLOW, split, notes=f"{render_pass} pass; disparities of either sign made positive"
        ),
        _remarks(counts),
    )


def split_of(path: Path) -> str:
    """`train` or `test`, from the folders of `path`."""
    return next((SPLITS[name] for name in path.parts if name in SPLITS), "train")


def _bases(raw: Path) -> list[Path]:
    """Folders that hold a folder of disparities, `raw` itself or up to DEPTH below it."""
    patterns = ["/".join(["*"] * depth + [DISPARITY]) for depth in range(DEPTH + 1)]
    return sorted({path.parent for pattern in patterns for path in raw.glob(pattern)})


def _has_images(base: Path, render_pass: str) -> bool:
    return any((base / name).is_dir() for name in IMAGE_FOLDERS[render_pass])


def _group(root: Path, raw: Path) -> str:
    """Name of the set that `root` belongs to, of its folders; the subset has train and val below."""
    names = [part for part in root.resolve().parts if part not in SPLITS]
    return names[-1] if names else raw.name


def _is_listed(files: SceneFlowFiles, unwanted: set[str]) -> bool:
    """Whether a line of a list is the end of the path of the left disparity or image."""
    if not unwanted:
        return False
    for path in (files.disps[0], files.images[0]):
        parts = path.with_suffix("").parts
        if any("/".join(parts[-n:]) in unwanted for n in range(1, len(parts) + 1)):
            return True
    return False


def _with_occlusions(files: SceneFlowFiles, root: Path) -> SceneFlowFiles:
    """`files` with the masks of the subset, which lie in a folder of another name."""
    found = list(files.occlusions)
    for side, disp in enumerate(files.disps):
        for folder in OCCLUSIONS:
            if disp is None or found[side] is not None:
                break
            mask = (root / folder / disp.relative_to(root / DISPARITY)).with_suffix(".png")
            found[side] = mask if mask.exists() else None
    return replace(files, occlusions=(found[0], found[1]))


def _add(builder: PlanBuilder, files: SceneFlowFiles, raw: Path, group: str) -> None:
    numbers = []
    for image, disp, mask in zip(files.images, files.disps, files.occlusions, strict=True):
        maps = []
        if disp is not None:
            maps.append(MapSource("disparity", "signless pfm", (str(disp),)))
        if mask is not None:
            maps.append(MapSource("occlusion", "occluded mask", (str(mask),)))
        name = image.relative_to(raw).as_posix()
        numbers.append(builder.image(ImageSource(name, str(image), maps=tuple(maps))))
    builder.pair(numbers[0], numbers[1], group)


def _remarks(counts: dict[tuple[str, str], int]) -> list[str]:
    remarks = []
    for (group, part), count in counts.items():
        full = FULL.get((group, part))
        if full is not None and count < full:
            text = f"{full - count} of {full} pairs of {group} {part} missing"
            remarks.append(SCENEFLOW.missing(text))
    return remarks
