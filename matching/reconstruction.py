"""`python -m matching reconstruct`: COLMAP's incremental reconstruction of an exported database (pycolmap).

Shows what our matches are worth to a tool that others use; with known poses, how far its own are off.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ReconstructCommand:
    """Reconstruct a scene from a database that `export colmap` wrote; wants quadview[colmap].

    Args:
        database: The database.
        images: Folder of the images that were matched.
        out: Folder for COLMAP's model; made where it is missing.
        truth: Pairs with image0, image1 and T_0to1 in a JSON list; the error of the relative poses is told.
        keep_intrinsics: Do not refine the cameras: for exports with --intrinsics.
        threads: Of COLMAP; -1 takes all cores.
    """

    database: Path
    images: Path
    out: Path
    truth: Path | None = None
    keep_intrinsics: bool = False
    threads: int = -1


@dataclass(frozen=True)
class PoseErrors:
    """Errors of relative poses against known ones, in degrees, one per pair."""

    rotation_deg: "np.ndarray"  # (P,)
    translation_deg: "np.ndarray"  # (P,) of the direction

    def __str__(self) -> str:
        import numpy as np

        worst = [each.max() for each in (self.rotation_deg, self.translation_deg)]
        middle = [np.median(each) for each in (self.rotation_deg, self.translation_deg)]
        return (
            f"relative poses of {len(self.rotation_deg)} pairs: rotation off by {middle[0]:.3f} degrees "
            f"(median), {worst[0]:.3f} (worst); direction of translation by {middle[1]:.3f}, {worst[1]:.3f}"
        )


def parse(argv: Sequence[str]) -> ReconstructCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(ReconstructCommand, args=argv, prog="python -m matching reconstruct")


def run(command: ReconstructCommand) -> str:
    """Reconstructs; returns the lines to print.

    Raises:
        ValueError: no reconstruction, pycolmap is missing, or a wrong file; as OSError.
    """
    if not command.database.is_file():
        raise FileNotFoundError(
            f"{command.database}: there is no such database; make it with python -m matching export colmap"
        )
    if not command.images.is_dir():
        raise FileNotFoundError(
            f"{command.images}: there is no such folder of images; check the path"
        )
    known = None if command.truth is None else read_poses(command.truth, command.images)
    try:
        import pycolmap
    except ImportError as error:
        raise ValueError(
            "wanted pycolmap, which is not installed: pip install quadview[colmap]"
        ) from error
    from matching.colmap_check import copy_checked

    command.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".checked-", dir=command.out) as folder:
        database = Path(folder) / "database.db"
        total = copy_checked(command.database, database)
        best = _largest_model(pycolmap, command, database)
    lines = [
        f"{best.num_reg_images()} of {total} images registered, {best.num_points3D()} points, mean track "
        f"length {best.compute_mean_track_length():.2f}, mean reprojection error "
        f"{best.compute_mean_reprojection_error():.3f} px"
    ]
    if known is not None:
        lines.append(str(pose_errors(_poses(best), known)))
    return "\n".join(lines)


def _largest_model(pycolmap: Any, command: ReconstructCommand, database: Path) -> Any:
    """Reconstructs from a checked database."""
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    options = pycolmap.IncrementalPipelineOptions(num_threads=command.threads, min_model_size=3)
    if command.keep_intrinsics:
        options.ba_refine_focal_length = options.ba_refine_extra_params = False
    models = pycolmap.incremental_mapping(database, command.images, command.out, options)
    if not models:
        raise ValueError(
            f"{command.database}: no two images have enough verified matches to begin with; match more "
            "pairs or a larger --long-side"
        )
    return max(models.values(), key=lambda model: model.num_reg_images())


def read_poses(path: Path, images: Path) -> dict[tuple[str, str], "np.ndarray"]:
    """T_0to1 (4, 4), x1 = T x0, of the pairs in a JSON list, by the names that the images have below `images`.

    Args:
        path: of the list; its names are below its own folder. Pairs that do not lie below `images` are left
            out.
        images: folder of the images.

    Raises:
        FileNotFoundError: no such list.
        ValueError: not such a list.
    """
    from data_scripts.untrusted import told_as

    with told_as(path, "a JSON list of image0, image1 and T_0to1"):
        rows = json.loads(path.read_text(encoding="utf-8"))
        listed: list[tuple[Path, Path, np.ndarray]] = [
            (path.parent / row["image0"], path.parent / row["image1"], _array(row["T_0to1"]))
            for row in rows
        ]
        if any(T.shape != (4, 4) for _, _, T in listed):
            raise ValueError(f"{path}: T_0to1 must be (4, 4)")
        top = images.resolve()
        return {
            (image0.relative_to(top).as_posix(), image1.relative_to(top).as_posix()): T
            for image0, image1, T in ((a.resolve(), b.resolve(), T) for a, b, T in listed)
            if image0.is_relative_to(top) and image1.is_relative_to(top)
        }


def _array(values: Any) -> "np.ndarray":
    import numpy as np

    return np.asarray(values, np.float64)


def pose_errors(
    world_to_camera: dict[str, "np.ndarray"], known: dict[tuple[str, str], "np.ndarray"]
) -> PoseErrors:
    """Errors of the relative poses of all known pairs whose images both have a pose.

    Args:
        world_to_camera: (4, 4) by name of the image.
        known: T_0to1 (4, 4) by names of both images.

    Raises:
        ValueError: none of the pairs has both poses.
    """
    import numpy as np

    rotations, translations = [], []
    for names, truth in known.items():
        if not set(names) <= set(world_to_camera):
            continue
        T = [world_to_camera[name] for name in names]
        found = T[1] @ np.linalg.inv(T[0])
        cosine = (np.trace(found[:3, :3].T @ truth[:3, :3]) - 1) / 2
        rotations.append(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
        along = found[:3, 3] @ truth[:3, 3]
        length = np.linalg.norm(found[:3, 3]) * np.linalg.norm(truth[:3, 3])
        translations.append(np.rad2deg(np.arccos(np.clip(along / length, -1, 1))))
    if not rotations:
        raise ValueError("wanted known poses of images in the model, got none; check the names")
    return PoseErrors(np.array(rotations), np.array(translations))


def _poses(model: Any) -> dict[str, "np.ndarray"]:
    """World to camera (4, 4) of every image in the model, by name."""
    import numpy as np

    return {
        image.name: np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        for image in model.images.values()
        if image.has_pose
    }
