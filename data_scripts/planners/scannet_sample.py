"""Pairs of a list in SuperGlue's format: ScanNet's 15 sample pairs, the 1500 test pairs, YFCC."""

from pathlib import Path

from data_scripts.catalogue import SCANNET_SAMPLE
from data_scripts.plan import ImageSource, Plan, PlanBuilder
from data_scripts.planners.raw_files import Missing, existing_folder, info
from data_scripts.superglue_list import ListedPair, read_list

# the list as its repository names it, and as it is passed around
LISTS = ("scannet_sample_pairs_with_gt.txt", "pairs_with_gt.txt")
FOLDERS = ("scannet_sample_images", "images", ".")


def plan(raw: Path, pairs: Path | None = None) -> Plan:
    """The pairs of the list `pairs` whose images lie in `raw` or in a folder of it.

    `pairs` of None: the list that lies in `raw`.
    """
    existing_folder(raw, SCANNET_SAMPLE)
    path = pairs or _list(raw)
    listed = read_list(path)
    if not listed:
        raise ValueError(f"{path}: wanted at least one pair, got an empty list")
    folder = _images(raw, listed)
    missing, builder = Missing(SCANNET_SAMPLE), PlanBuilder()
    for pair in listed:
        _add(builder, pair, folder, missing)
    if not builder.rows:
        named = missing.first[0]
        raise FileNotFoundError(
            SCANNET_SAMPLE.missing(f"{path}: none of its images is there, first {named}")
        )
    notes = f"pairs of {path.name}"
    return builder.plan(info(SCANNET_SAMPLE, "test", notes), missing.remarks("images"))


def _list(raw: Path) -> Path:
    for folder in (raw, raw.parent):
        for name in LISTS:
            if (folder / name).exists():
                return folder / name
    raise FileNotFoundError(SCANNET_SAMPLE.missing(f"{raw}: wanted {' or '.join(LISTS)}, got none"))


def _images(raw: Path, listed: list[ListedPair]) -> Path:
    """The folder that the names of the list are relative to."""
    names = [name for pair in listed[:20] for name in pair.images]
    return max(
        (raw / folder for folder in FOLDERS), key=lambda f: sum((f / n).exists() for n in names)
    )


def _add(builder: PlanBuilder, pair: ListedPair, folder: Path, missing: Missing) -> None:
    paths = [folder / name for name in pair.images]
    if sum(missing.lacks(path) for path in paths):  # both are counted
        return
    images = [
        builder.image(ImageSource(name, str(path), K))
        for name, path, K in zip(pair.images, paths, pair.K, strict=True)
    ]
    turns = None if pair.turns == (0, 0) else pair.turns
    builder.pair(images[0], images[1], _scene(pair.images[0]), T_0to1=pair.T_0to1, turns=turns)


def _scene(name: str) -> str:
    """scene0711_00 of scene0711_00_frame-001680.jpg and of scans/scene0711_00/color/1.jpg."""
    parts = [part for part in Path(name).parts if part.startswith("scene")]
    return "_".join(parts[0].split("_")[:2]).split(".")[0] if parts else Path(name).parent.name
