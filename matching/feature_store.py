"""Features of many images, made once each: kept in memory as far as it goes, then on disk.

What comes back from disk is what was put there to the last bit, memory layout too, so a match does not
depend on where its features were.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_scripts.atomic import replacing
from data_scripts.attempts import FailedPair, attempt
from matching.model import Features
from matching.network import ImageFeatures
from matching.predictor import MatchPredictor
from matching.resize import PreparedImage

LAST = ".last"  # ends the name of a map whose channels lie last in memory
GIBIBYTE = 2**30


@dataclass(frozen=True)
class StoreLimits:
    """How much a store may hold.

    Args:
        memory_gb: Gibibytes of features kept in memory; the image in use is kept whatever its size.
        disk_gb: Gibibytes of features kept on disk; what does not fit is extracted again when needed.
    """

    memory_gb: float = 2.0
    disk_gb: float = 50.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0:
                raise ValueError(f"{name} must be 0 or more gibibytes, got {value}")


class FeatureStore:
    """Features of the images below a folder, by name.

    Args:
        predictor: that extracts, and that will match.
        images: folder of the images.
        names: of all images, below that folder; the place of a name in it names its file on disk.
        folder: where features go that memory has no room for; made when it is needed.
        limits: of memory and disk.
        turns: quarter turns to keep features of, in degrees.
    """

    def __init__(
        self,
        predictor: MatchPredictor,
        images: Path,
        names: Sequence[str],
        folder: Path,
        limits: StoreLimits,
        turns: tuple[int, ...] = (0,),
    ) -> None:
        self.extracted = 0  # times the network ran on an image
        self.failures: dict[str, str] = {}  # name: why there are no features
        self._predictor, self._images, self._turns = predictor, images, turns
        self._path = {name: folder / f"{n:08d}.safetensors" for n, name in enumerate(names)}
        self._folder, self._limits = folder, limits
        self._kept: OrderedDict[str, ImageFeatures] = OrderedDict()
        self._bytes = 0
        self._disk_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))

    @property
    def corrected_encoding(self) -> bool:
        """Of the matcher whose features these are; see `MatcherConfig`."""
        return self._predictor.network.matcher.corrected_encoding

    def get(self, name: str) -> ImageFeatures | FailedPair:
        """Features of the image `name`, or why there are none."""
        if name in self.failures:
            return FailedPair(self.failures[name])
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        found = self._from_disk(self._path[name])
        if found is None:
            made = attempt(partial(self._extract, name), record=True)
            if isinstance(made, FailedPair):
                self.failures[name] = made.error
                return made
            found = made
        self._kept[name] = found
        self._bytes += _bytes_of(found)
        self._evict()
        return found

    def _extract(self, name: str) -> ImageFeatures:
        self.extracted += 1
        return self._predictor.extract(self._images / name, rotations=self._turns)

    def _evict(self) -> None:
        """Moves the images used longest ago to disk until memory suffices."""
        while len(self._kept) > 1 and self._bytes > self._limits.memory_gb * GIBIBYTE:
            name, oldest = self._kept.popitem(last=False)
            self._bytes -= _bytes_of(oldest)
            self._to_disk(self._path[name], oldest)

    def _to_disk(self, path: Path, features: ImageFeatures) -> None:
        room = self._limits.disk_gb * GIBIBYTE - self._disk_bytes
        if path.exists() or _bytes_of(features) > room:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        size = ",".join(map(str, features.size))
        with replacing(path) as temporary:
            save_file(_tensors_of(features), temporary, {"size": size})
        self._disk_bytes += path.stat().st_size

    def _from_disk(self, path: Path) -> ImageFeatures | None:
        """What lies on disk; None where nothing whole does."""
        if not path.is_file():
            return None
        try:
            with safetensors.safe_open(path, "pt") as file:
                height, width = map(int, file.metadata()["size"].split(","))
            tensors = load_file(path)
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError):
            return None
        image = PreparedImage(
            tensors["grey"].numpy(), _mask_in(tensors, "mask"), (height, width),
            _mask_in(tensors, "given_mask"),
        )  # fmt: skip
        network = self._predictor.network
        features = {turn: _features_in(tensors, turn, network.device) for turn in self._turns}
        return ImageFeatures(image, features, network.matcher)


def _bytes_of(features: ImageFeatures) -> int:
    maps = [
        each
        for kept in features.features.values()
        for each in (kept.coarse, kept.fine, kept.mask)
        if each is not None
    ]
    return features.image.grey.nbytes + sum(each.nbytes for each in maps)


def _tensors_of(features: ImageFeatures) -> dict[str, Tensor]:
    """Everything in it, by name; maps with their channels last are stored as they lie."""
    image = features.image
    tensors = {"grey": torch.from_numpy(np.ascontiguousarray(image.grey))}
    for name, mask in (("mask", image.mask), ("given_mask", image.given_mask)):
        if mask is not None:
            tensors[name] = torch.from_numpy(np.ascontiguousarray(mask))
    for turn, kept in features.features.items():
        for name, values in (("coarse", kept.coarse), ("fine", kept.fine), ("cells", kept.mask)):
            if values is None:
                continue
            last = values.dim() == 4 and not values.is_contiguous()
            stored = values.permute(0, 2, 3, 1) if last else values
            # A copy: two maps may share memory, which safetensors refuses.
            tensors[f"{turn}.{name}{LAST if last else ''}"] = stored.cpu().contiguous().clone()
    return tensors


def _features_in(tensors: dict[str, Tensor], turn: int, device: torch.device) -> Features:
    def find(name: str) -> Tensor:
        key = f"{turn}.{name}"
        if key in tensors:
            return tensors[key].to(device)
        return tensors[key + LAST].to(device).permute(0, 3, 1, 2)

    cells = find("cells") if f"{turn}.cells" in tensors else None
    return Features(find("coarse"), find("fine"), cells)


def _mask_in(tensors: dict[str, Tensor], name: str) -> np.ndarray | None:
    return tensors[name].numpy() if name in tensors else None
