"""Images of planes with known homographies: HPatches, Oxford's sequences, and lists in JSON.

HPatches   v_adam/1.ppm to 6.ppm, H_1_2 to H_1_6
Oxford     bikes/img1.ppm to img6.ppm, H1to2p to H1to6p (other suffixes will do)
lists      pairs.json: objects with image0, image1 and H_0to1, beside the images
"""

from pathlib import Path
from typing import Any

import numpy as np

from data_scripts.catalogue import HPATCHES, OWN
from data_scripts.plan import ImageSource, Plan, PlanBuilder
from data_scripts.planners.raw_files import Missing, existing_folder, info, read_matrix
from data_scripts.untrusted import read_json_rows

SEQUENCES = 116
IMAGES = 6
SUFFIXES = (".ppm", ".png", ".jpg", ".pgm")
STYLES = (("{}", "H_1_{}"), ("img{}", "H1to{}p"))  # names of images and homographies
LIST = "pairs.json"


def plan(raw: Path) -> Plan:
    """Pairs 1 to 2, 1 to 3 and so on of every sequence in `raw`, or those of its pairs.json."""
    existing_folder(raw, HPATCHES)
    if (raw / LIST).exists():
        return _plan_list(raw / LIST)
    missing, builder = Missing(HPATCHES), PlanBuilder()
    folders = [raw, *sorted(path for path in raw.iterdir() if path.is_dir())]
    found = sum(_add_sequence(builder, folder, missing) for folder in folders)
    if not builder.rows:
        raise FileNotFoundError(
            HPATCHES.missing(
                f"{raw}: wanted folders with 1.ppm to 6.ppm and H_1_2 to H_1_6, got none"
            )
        )
    remarks = missing.remarks("images or homographies")
    if found < SEQUENCES:
        remarks.append(HPATCHES.missing(f"{SEQUENCES - found} of {SEQUENCES} sequences missing"))
    return builder.plan(info(HPATCHES, "test"), remarks)


def _add_sequence(builder: PlanBuilder, folder: Path, missing: Missing) -> int:
    """Adds the pairs of one sequence; 1 if `folder` is one, else 0."""
    for image_style, matrix_style in STYLES:
        first = _picture(folder, image_style.format(1))
        if first is None:
            continue
        for k in range(2, IMAGES + 1):
            other = _picture(folder, image_style.format(k))
            matrix = folder / matrix_style.format(k)
            if other is None:
                missing.lacks(folder / image_style.format(k))
            elif not missing.lacks(matrix):
                H = read_matrix(matrix, 3, 3)
                numbers = [_image(builder, path, folder.parent) for path in (first, other)]
                builder.pair(numbers[0], numbers[1], folder.name, H_0to1=H)
        return 1
    return 0


def _picture(folder: Path, stem: str) -> Path | None:
    return next((p for s in SUFFIXES if (p := folder / f"{stem}{s}").exists()), None)


def _image(builder: PlanBuilder, path: Path, base: Path) -> int:
    return builder.image(ImageSource(path.relative_to(base).as_posix(), str(path)))


def _plan_list(path: Path) -> Plan:
    missing, builder = Missing(OWN), PlanBuilder()
    for number, row in enumerate(read_json_rows(path)):
        where = f"{path}, pair {number}"
        H = _homography(row, where)
        images = [path.parent / str(row.get(key)) for key in ("image0", "image1")]
        if sum(missing.lacks(image) for image in images):  # both are counted
            continue
        numbers = [_image(builder, image, path.parent) for image in images]
        group = str(row.get("scene", Path(str(row["image0"])).parent.as_posix()))
        builder.pair(numbers[0], numbers[1], group, H_0to1=H)
    if not builder.rows:
        raise FileNotFoundError(
            f"{path}: wanted images beside the list, got none; check their names"
        )
    return builder.plan(
        info(OWN, name=f"homographies of {path.parent.name}"), missing.remarks("images")
    )


def _homography(row: dict[str, Any], where: str) -> np.ndarray:
    try:
        H = np.array(row["H_0to1"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: wanted H_0to1 (3, 3), got {error!r}") from error
    if H.shape != (3, 3) or not np.isfinite(H).all():
        raise ValueError(f"{where}: wanted a finite H_0to1 (3, 3), got {H.shape}")
    return H
