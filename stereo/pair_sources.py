"""Rectified pairs one after the other: from two folders, two videos, or one that shows both side by side."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data_scripts.image_files import read_image

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm")
)
VIDEO_SUFFIXES = frozenset((".avi", ".mp4", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg"))


class PairSource:
    """Pairs with a name each, in an order that never changes."""

    def __len__(self) -> int:
        """How many pairs; for a video what its header says, which may be wrong."""
        raise NotImplementedError

    def names(self) -> Iterator[str]:
        """Names of all pairs; for a video its frames are counted, which takes as long as to decode it."""
        raise NotImplementedError

    def pairs(self, done: Container[str]) -> Iterator["NamedPair"]:
        """The pairs whose names are not in `done`; the others are passed over cheaply."""
        raise NotImplementedError


@dataclass(frozen=True)
class NamedPair:
    """One pair, or why it cannot be had."""

    name: str  # with `/`, without a suffix
    left: np.ndarray | None  # (H, W) or (H, W, 3) RGB
    right: np.ndarray | None
    error: str = ""  # one line where an image could not be read


class FolderSource(PairSource):
    """Images with the same path below two folders; with one folder, both halves of each image.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: there are no images, none has a partner, or two would have one name without their
            suffixes.
    """

    def __init__(self, left: Path, right: Path | None) -> None:
        for folder in (left, right):
            if folder is not None and not folder.is_dir():
                raise FileNotFoundError(f"{folder}: there is no such folder of images")
        found = (p for p in left.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        paths = sorted(path.relative_to(left) for path in found)
        self._paths = {path.with_suffix("").as_posix(): path for path in paths}
        if not paths:
            raise ValueError(
                f"{left}: wanted image files, got none; name another folder or a video"
            )
        if len(self._paths) < len(paths):
            raise ValueError(
                f"{left}: wanted names that differ without their suffixes, got {len(paths)} images with "
                f"{len(self._paths)} names; rename some"
            )
        if right is not None and not any((right / path).is_file() for path in paths):
            raise ValueError(
                f"{right}: wanted images with the names of those in {left}, as {paths[0]}, got none; "
                "rename them"
            )
        # Absolute, so that failures are told alike by processes with other working directories.
        self._left, self._right = left.resolve(), right and right.resolve()

    def __len__(self) -> int:
        return len(self._paths)

    def names(self) -> Iterator[str]:
        """See `PairSource`."""
        return iter(self._paths)

    def pairs(self, done: Container[str]) -> Iterator[NamedPair]:
        """See `PairSource`."""
        for name, path in self._paths.items():
            if name not in done:
                yield self._read(name, path)

    def _read(self, name: str, path: Path) -> NamedPair:
        try:
            left = read_image(self._left / path)
            if self._right is None:
                return NamedPair(name, *_halves(left))
            return NamedPair(name, left, read_image(self._right / path))
        except (ValueError, OSError) as error:
            return NamedPair(name, None, None, " ".join(str(error).split()))


class VideoSource(PairSource):
    """Frames of two videos, or both halves of the frames of one; names are numbers of frames from 0.

    Raises:
        FileNotFoundError: a video is missing.
        ValueError: a file is no video that OpenCV reads.
    """

    def __init__(self, left: Path, right: Path | None) -> None:
        given = [path for path in (left, right) if path is not None]
        videos = [_opened(path) for path in given]
        self._paths = [path.resolve() for path in given]
        self._count = min(int(video.get(cv2.CAP_PROP_FRAME_COUNT)) for video in videos)
        for video in videos:
            video.release()

    def __len__(self) -> int:
        return max(self._count, 0)

    def names(self) -> Iterator[str]:
        """See `PairSource`."""
        return (name for name, _, _ in self._steps())

    def pairs(self, done: Container[str]) -> Iterator[NamedPair]:
        """See `PairSource`. Ends with the shorter video; a frame that only one has is told."""
        for name, videos, error in self._steps():
            if error:
                yield NamedPair(name, None, None, error)
            elif name not in done:
                yield _frames(name, videos)

    def _steps(self) -> Iterator[tuple[str, list[cv2.VideoCapture], str]]:
        """Name of each frame, the videos that stand at it, and why it is none."""
        videos = [_opened(path) for path in self._paths]
        try:
            number = 0
            while any(there := [video.grab() for video in videos]):
                ended = "" if all(there) else f"{self._paths[there.index(False)]} ends here"
                yield f"{number:08d}", videos, ended and f"{ended}, the other goes on"
                if ended:
                    return
                number += 1
        finally:
            for video in videos:
                video.release()


class PairReader:
    """Pairs of a source by name, quick where they are asked for in the order of the source.

    A video is read on from the frame that was asked for last, and for an earlier one from its beginning:
    jumps lose count of the frames in many files.
    """

    def __init__(self, source: PairSource) -> None:
        self._source = source
        self._others = _AllBut()
        self._pairs: Iterator[NamedPair] = iter(())
        self._last = ""

    def read(self, name: str) -> NamedPair:
        """The pair of that name.

        Raises:
            ValueError: the source has none, so its files are not those that were listed.
        """
        self._others.wanted = name
        begun = self._pairs if name > self._last else iter(())
        pair = next(begun, None)
        if pair is None or pair.name != name:
            self._pairs = self._source.pairs(self._others)
            pair = next(self._pairs, None)
        if pair is None or pair.name != name:
            raise ValueError(
                f"wanted the pair {name}, which is gone; let its files alone meanwhile"
            )
        self._last = name
        return pair


class _AllBut(Container[str]):
    """Every name but one."""

    def __init__(self) -> None:
        self.wanted = ""

    def __contains__(self, name: object) -> bool:
        return name != self.wanted


def open_source(left: Path, right: Path | None) -> PairSource:
    """Two folders, two videos, or one of either that shows left and right side by side.

    Raises:
        ValueError: one is a folder and the other a video, or what the sources raise, as FileNotFoundError.
    """
    videos = [path.suffix.lower() in VIDEO_SUFFIXES for path in (left, right) if path is not None]
    if any(videos) != all(videos):
        raise ValueError(f"wanted two folders or two videos, got {left} and {right}")
    return VideoSource(left, right) if all(videos) else FolderSource(left, right)


def _opened(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such video")
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise ValueError(f"{path}: wanted a video, got a file that OpenCV cannot open; convert it")
    return video


def _frames(name: str, videos: list[cv2.VideoCapture]) -> NamedPair:
    images = []
    for video in videos:
        whole, frame = video.retrieve()
        if not whole:
            return NamedPair(name, None, None, f"frame {int(name)} cannot be decoded")
        images.append(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
    if len(images) == 2:
        return NamedPair(name, images[0], images[1])
    return NamedPair(name, *_halves(images[0]))


def _halves(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left and right half; of an odd number of columns the middle one is left out."""
    half = image.shape[1] // 2
    return image[:, :half], image[:, image.shape[1] - half :]
