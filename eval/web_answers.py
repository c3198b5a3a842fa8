"""What the page answers: matches, geometry, regions of a point, disparity; and the files to download.

Takes and gives arrays and words. Knows nothing of servers, so that all of it can be tested without one.
"""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.web_folder import fresh_folder
from eval.web_mesh import surface_glb
from eval.web_pictures import OCCLUDED_FROM, asking_picture, matches_picture, regions_picture
from matching.attention_view import trace_attention
from matching.export import PairInfo, write_matches
from matching.geometry import Geometry, Kind, RobustSettings, estimate
from matching.matches import Matches, best_of
from matching.network import ImageFeatures
from matching.options import MatchOptions
from matching.predictor import MatchPredictor
from matching.predictor import load_predictor as load_matching
from stereo.disparity import Disparity
from stereo.point_cloud import Calibration
from stereo.predictor import load_predictor as load_stereo

STEREO_SIDE = 1000  # px; larger pairs are shrunk, for time
STEREO_GIB = 4.0
KEPT_ANSWERS = 32  # folders of files to download
NEAR_PX = 16.0  # the match of a point begins no further from it, times the shrinking of the image


@dataclass(frozen=True)
class Matched:
    """A pair that was matched, with what later questions need."""

    image0: np.ndarray  # (H, W, 3) uint8
    image1: np.ndarray
    features: tuple[ImageFeatures, ImageFeatures]
    matches: Matches


@dataclass(frozen=True)
class MatchAnswer:
    """What the page shows of a matched pair."""

    picture: np.ndarray  # (H, W, 3) uint8
    words: str  # Markdown
    table: Path  # .csv
    store: Path  # .h5


@dataclass(frozen=True)
class PointAnswer:
    """What the page shows of a point."""

    asking: np.ndarray  # image 0 with the point
    regions: np.ndarray  # image 1 with what the point looks at
    words: str


@dataclass(frozen=True)
class Asked:
    """What the controls say."""

    min_confidence: float = 0.2
    kind: Kind = "homography"
    threshold_px: float = 2.0
    agreeing: bool = False  # show and save only matches that agree with the geometry


class Answers:
    """The predictors, each loaded when it is first needed, and a folder for files.

    Args:
        folder: for files to download.
        weights: of matching, a shipped name or a checkpoint.
        stereo_weights: of stereo.
        device: cpu, cuda or cuda:N.
    """

    def __init__(self, folder: Path, weights: str, stereo_weights: str, device: str) -> None:
        self.folder = folder
        self._names = weights, stereo_weights
        self._device = device
        self._lock = threading.Lock()
        self._matching: MatchPredictor | None = None

    def matching(self) -> MatchPredictor:
        """The predictor of matches."""
        with self._lock:
            if self._matching is None:
                self._matching = load_matching(self._names[0], device=self._device)
        return self._matching

    def match(self, image0: np.ndarray, image1: np.ndarray) -> Matched:
        """All matches of both images (H, W, 3) uint8."""
        predictor = self.matching()
        features = predictor.extract(image0), predictor.extract(image1)
        return Matched(image0, image1, features, predictor.match(*features))

    def show_matches(self, matched: Matched, asked: Asked) -> MatchAnswer:
        """The matches that the controls let through, their geometry, and both files."""
        options = MatchOptions(min_confidence=asked.min_confidence)
        matches = best_of(matched.matches, options)
        settings = RobustSettings(threshold_px=asked.threshold_px)
        found = estimate(asked.kind, matches.kpts0, matches.kpts1, settings=settings)
        words = _words(matches, len(matched.matches), found)
        if asked.agreeing:
            inside = found.inliers
            matches = Matches(
                matches.kpts0[inside], matches.kpts1[inside], matches.confidence[inside]
            )
        picture = matches_picture(matched.image0, matched.image1, matches)
        folder = fresh_folder(self.folder / "answers", KEPT_ANSWERS)
        sizes = *matched.image0.shape[:2], *matched.image1.shape[:2]
        files = folder / "matches.csv", folder / "matches.h5"
        for path in files:
            write_matches(path, matches, PairInfo("image0", "image1", *sizes))
        return MatchAnswer(picture, words, *files)

    def show_point(self, matched: Matched, point: tuple[float, float]) -> PointAnswer:
        """Where the point x, y of image 0 looks in image 1, level by level, and what it matches."""
        trace = trace_attention(self.matching(), *matched.features, point)
        near, words = _near(matched, point)
        cells = ", ".join(
            f"level {level}: {len(visited.boxes)} cells"
            for level, visited in enumerate(trace.levels)
        )
        asking = asking_picture(matched.image0, trace)
        regions = regions_picture(matched.image1, trace, near)
        x, y = point
        return PointAnswer(asking, regions, f"Point ({x:g}, {y:g}): {words}. {cells}.")

    def disparity(self, left: np.ndarray, right: np.ndarray) -> Disparity:
        """Disparity of a rectified pair (H, W, 3) uint8."""
        predictor = load_stereo(
            self._names[1], device=self._device, long_side=STEREO_SIDE, max_memory=STEREO_GIB
        )
        return predictor.predict(left, right)

    def surface(self, left: np.ndarray, disparity: Disparity, calibration: Calibration) -> Path:
        """A file with the surface that the left image shows."""
        glb = surface_glb(left, disparity, calibration)
        path = fresh_folder(self.folder / "answers", KEPT_ANSWERS) / "surface.glb"
        path.write_bytes(glb)
        return path


def disparity_words(disparity: Disparity) -> str:
    """The numbers under the pictures of a disparity."""
    low, middle, high = np.percentile(disparity.disparity, [1, 50, 99])
    hidden = 100 * (disparity.occlusion > OCCLUDED_FROM).mean()
    return (
        f"Disparity {low:.1f} to {high:.1f} px (1 to 99 %), median {middle:.1f} px; "
        f"{hidden:.1f} % of the left image is occluded."
    )


def _words(matches: Matches, count: int, found: Geometry) -> str:
    lines = [f"**{len(matches)}** of {count} matches are this sure."]
    if found.matrix is None:
        return f"{lines[0]} No {found.kind}: {found.failure}."
    share = 100 * found.inliers.mean()
    lines.append(f"**{found.inliers.sum()}** ({share:.0f} %) agree with one {found.kind} matrix:")
    rows = [" ".join(f"{value:12.5g}" for value in row) for row in found.matrix]
    return " ".join(lines) + "\n\n```\n" + "\n".join(rows) + "\n```"


def _near(matched: Matched, point: tuple[float, float]) -> tuple[np.ndarray | None, str]:
    """The end (2,) of the match that begins nearest to the point, and words for it."""
    if not len(matched.matches):
        return None, "the images have no matches"
    distance = np.linalg.norm(matched.matches.kpts0 - np.array(point), axis=1)
    n = int(distance.argmin())
    seen = matched.features[0].image
    if distance[n] > NEAR_PX * max(seen.size) / max(seen.grey.shape):
        return None, f"no match begins near it; the nearest is {distance[n]:.0f} px away"
    x, y = matched.matches.kpts1[n]
    return matched.matches.kpts1[n], (
        f"its match is ({x:.1f}, {y:.1f}) with confidence {matched.matches.confidence[n]:.2f}, "
        f"and begins {distance[n]:.1f} px from it"
    )
