"""Pairs of views of one photograph, the second one turned and zoomed, with their exact homography.

A case is one turn and one zoom about the middle of the image. Both of its views lie inside the
photograph: the wider one shows as much of it as fits. The second view differs in gamma and noise.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from data_scripts.atomic import replacing, write_text
from data_scripts.command_line import check_counts
from data_scripts.homography import about, translation, turn
from data_scripts.images import Array, Image, read_rgb, resize_map, resized
from data_scripts.photos import MIN_SIDE, SUFFIXES

SETTINGS = "settings.json"  # in the output folder: what its pairs were made of
LIST = "pairs.json"  # in the folder of a case, written last


@dataclass(frozen=True)
class Case:
    """How the second view differs from the first one."""

    turn_deg: float  # from x towards y
    zoom: float  # pixels of image 1 per pixel of image 0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.turn_deg) and 0 < self.zoom < np.inf):
            raise ValueError(
                f"a case must be a turn in degrees and a zoom above 0, got {self.turn_deg:g} and "
                f"{self.zoom:g}"
            )

    @property
    def folder(self) -> str:
        """Name of the folder of its pairs."""
        return f"turn_{self.turn_deg:03g}_zoom_{self.zoom:g}"


@dataclass(frozen=True)
class Views:
    """What every pair is made to."""

    height: int = 480  # of both images, in pixels
    width: int = 640
    max_gamma: float = 1.4  # of image 1; drawn between its inverse and it
    noise: float = 4.0  # of image 1, standard deviation in grey levels of 255
    max_enlargement: float = 2.6  # image pixels per pixel of the photograph
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.height, self.width) < MIN_SIDE:
            raise ValueError(
                f"views must have sides of at least {MIN_SIDE} px, got {self.height} x {self.width}"
            )
        check_counts(self, "max_gamma", "max_enlargement")
        if not 0 <= self.noise < 256:
            raise ValueError(f"--noise must be in [0, 256) grey levels, got {self.noise:g}")


def all_cases(
    turns: Iterable[float], zooms: Iterable[float], both: Iterable[tuple[float, float]]
) -> list[Case]:
    """Every turn at zoom 1, every zoom unturned, and `both` (turn, zoom); none of them twice.

    Raises:
        ValueError: no case, or one that is no turn and zoom.
    """
    pairs = [(deg, 1.0) for deg in turns] + [(0.0, zoom) for zoom in zooms] + list(both)
    if not pairs:
        raise ValueError("wanted at least one case, got none; give --turns, --zooms or --both")
    return list(dict.fromkeys(Case(float(deg), float(zoom)) for deg, zoom in pairs))


def homography_of(case: Case, size: tuple[int, int]) -> Array:
    """H_0to1 (3, 3) of views of `size` (H, W): turned and zoomed about their middle."""
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    return about(middle, case.zoom * turn(case.turn_deg))


def step_px(case: Case, photo_size: tuple[int, int], size: tuple[int, int]) -> float:
    """Photograph pixels per pixel of image 0: the most that keeps both views inside the photograph."""
    width, height = _extent(case, size)
    return min(photo_size[0] / height, photo_size[1] / width)


def _extent(case: Case, size: tuple[int, int]) -> tuple[float, float]:
    """Width and height of the upright box round both views, in pixels of image 0."""
    H, W = size
    angle = np.deg2rad(case.turn_deg)
    cos, sin = abs(np.cos(angle)), abs(np.sin(angle))
    across, down = (W * cos + H * sin) / case.zoom, (W * sin + H * cos) / case.zoom
    return max(W, float(across)), max(H, float(down))


def enlargement(case: Case, photo_size: tuple[int, int], size: tuple[int, int]) -> float:
    """Pixels of the narrower view per pixel of the photograph; below 1 it is shrunk."""
    return max(1.0, case.zoom) / step_px(case, photo_size, size)


def view_pair(photo: Image, case: Case, views: Views, number: int) -> tuple[Image, Image, Array]:
    """Both views of a photograph (H, W, 3) and H_0to1 between their pixels.

    Gamma and noise are drawn by `number` alone, so that they are the same in every case.
    """
    size = views.height, views.width
    photo_size = photo.shape[0], photo.shape[1]
    step = step_px(case, photo_size, size)
    H_0to1 = homography_of(case, size)
    to_photo = _middle(photo_size) @ np.diag([step, step, 1.0]) @ np.linalg.inv(_middle(size))
    image0 = _seen(photo, to_photo, step, size)
    image1 = _seen(photo, to_photo @ np.linalg.inv(H_0to1), step / case.zoom, size)
    rng = np.random.default_rng([views.seed, number])
    gamma = views.max_gamma ** rng.uniform(-1, 1)
    level = 255 * (image1 / 255.0) ** gamma + rng.normal(0, views.noise, image1.shape)
    return image0, np.clip(level.round(), 0, 255).astype(np.uint8), H_0to1


def _middle(size: tuple[int, int]) -> Array:
    return translation((size[1] - 1) / 2, (size[0] - 1) / 2)


def _seen(photo: Image, to_photo: Array, step: float, size: tuple[int, int]) -> Image:
    """The view of `size` whose pixels lie at `to_photo`, `step` pixels of the photograph apart.

    The photograph is first averaged over areas to a step of one, so that nothing aliases.
    """
    full = photo.shape[0], photo.shape[1]
    shrink = max(1.0, step)
    small = round(full[0] / shrink), round(full[1] / shrink)
    matrix = resize_map(full, small) @ to_photo
    seen = cv2.warpAffine(
        resized(photo, small),
        matrix[:2],
        size[::-1],
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(seen, np.uint8)


def choose_photos(folder: Path, cases: Sequence[Case], views: Views, count: int) -> list[Path]:
    """`count` photographs below `folder`, evenly from those large enough, in the order of their names.

    One is large enough where no view of any case is enlarged more than `views.max_enlargement`.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: fewer than `count` that are large enough.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--photos must be a folder of images, got {folder}: no folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"{folder}: no photographs; wanted {', '.join(sorted(SUFFIXES))} files")
    fit: list[Path] = []
    small: list[Path] = []
    broken: list[Path] = []
    for path in tqdm(paths, desc="looking at photographs", unit="file"):
        try:
            size = read_rgb(path).shape[:2]
        except (OSError, ValueError):
            broken.append(path)
            continue
        large = all(
            enlargement(case, (size[0], size[1]), (views.height, views.width))
            <= views.max_enlargement
            for case in cases
        )
        (fit if large else small).append(path)
    H, W = _least_size(cases, views)
    _say_left_out(small, f"smaller than {W} x {H}")
    _say_left_out(broken, "not readable")
    if len(fit) < count:
        raise ValueError(
            f"{folder}: wanted {count} photographs of at least {W} x {H} px, got {len(fit)} of "
            f"{len(paths)}; give larger ones, a smaller --count or --height and --width, or a larger "
            "--max-enlargement"
        )
    return [fit[n * len(fit) // count] for n in range(count)]


def _least_size(cases: Sequence[Case], views: Views) -> tuple[int, int]:
    """Height and width that a photograph needs for all cases."""
    sides = []
    for case in cases:
        width, height = _extent(case, (views.height, views.width))
        finest = max(1.0, case.zoom) / views.max_enlargement
        sides.append((height * finest, width * finest))
    least = np.ceil(np.max(sides, axis=0) - 1e-9)
    return int(least[0]), int(least[1])


def _say_left_out(paths: Sequence[Path], why: str) -> None:
    if paths:
        print(f"note: photographs left out, {why}: {len(paths)}, first {paths[0]}", file=sys.stderr)


def write_cases(out: Path, photos: Sequence[Path], cases: Sequence[Case], views: Views) -> int:
    """A folder a case below `out`, with images and pairs.json; the number of cases from before.

    A case whose list is there was written whole by the same command and is kept.

    Raises:
        ValueError: `out` holds something else.
    """
    _claim(out, photos, views)
    left = [case for case in cases if not (out / case.folder / LIST).is_file()]
    with tqdm(total=len(left) * len(photos), desc="turned pairs", unit="pair") as bar:
        for case in left:
            folder = out / case.folder
            folder.mkdir(exist_ok=True)
            rows = []
            for number, path in enumerate(photos):
                rows.append(_write_pair(folder, path, number, case, views))
                bar.update()
            write_text(folder / LIST, json.dumps(rows, indent=1) + "\n")
    return len(cases) - len(left)


def _claim(out: Path, photos: Sequence[Path], views: Views) -> None:
    """Makes `out`, with a file that says what is made there."""
    settings = asdict(views) | {
        "photos": [[str(path.resolve()), path.stat().st_size] for path in photos]
    }
    text = json.dumps(settings, indent=1) + "\n"
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: wanted a folder to write to, got a file; name another one")
    out.mkdir(parents=True, exist_ok=True)
    note = out / SETTINGS
    if note.is_file():
        if note.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{out}: holds pairs of other photographs or settings; choose another --out or "
                "remove it"
            )
    elif any(out.iterdir()):
        raise ValueError(f"{out}: wanted a new or empty folder, got files; choose another --out")
    else:
        write_text(note, text)


def _write_pair(folder: Path, path: Path, number: int, case: Case, views: Views) -> dict[str, Any]:
    """Writes both images; the row of the list."""
    image0, image1, H_0to1 = view_pair(read_rgb(path), case, views, number)
    row: dict[str, Any] = {}
    for side, image in enumerate((image0, image1)):
        row[f"image{side}"] = name = f"{number:03d}_{path.stem}_{side}.png"
        with replacing(folder / name) as temporary:
            if not cv2.imwrite(str(temporary), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
                raise OSError(f"{folder / name}: cannot be written; check the rights of the folder")
    return row | {"H_0to1": H_0to1.tolist(), **asdict(case)}
