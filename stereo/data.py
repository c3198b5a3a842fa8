"""Training batches: synthetic rectified pairs drawn on the fly, the same for the same number."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from data_scripts.photo_training import check_shares, check_sizes
from data_scripts.rectified import RectifiedPair, flipped_and_swapped
from data_scripts.rectified_crop import random_window, shrunk_pair
from data_scripts.stereo_layered import stereo_layered_pair
from data_scripts.stereo_photometric import stereo_photometric
from data_scripts.stereo_scene import stereo_scene_pair
from stereo.real_pairs import RealPairSettings


@dataclass(frozen=True)
class Batch:
    """B labelled pairs of one size; fields as in `data_scripts.rectified.RectifiedPair`."""

    left: Tensor  # (B, 3, H, W)
    right: Tensor  # (B, 3, H, W)
    disp: Tensor  # (B, H, W) px
    known: Tensor  # (B, H, W) bool
    occluded: Tensor  # (B, H, W) bool
    occluded_right: Tensor  # (B, H, W) bool; all False where the right side has no labels

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        moved = {name: value.to(device, non_blocking=True) for name, value in vars(self).items()}
        return replace(self, **moved)


@dataclass(frozen=True)
class PairSettings:
    """What the synthetic pairs look like.

    Raises:
        ValueError: a size, number or share of which no pairs can be made.
    """

    sizes: tuple[tuple[int, int], ...] = ((192, 320), (128, 480))  # H, W; one a batch
    batch: int = 4  # pairs in a batch of the first size; another size gets about as many pixels
    scenes: float = 0.25  # share of ray-cast scenes; the others are layered photographs
    real: RealPairSettings = field(default_factory=RealPairSettings)

    def __post_init__(self) -> None:
        check_sizes(self.sizes, self.batch)
        check_shares(scenes=self.scenes)


class StereoBatches(Dataset[Batch]):
    """Batch number n of an endless stream, from photographs.

    Args:
        photos: the photographs.
        settings: sizes and shares.
        seed: first part of the seed of every batch.
        textures: images that serve, with the photographs, as surfaces of ray-cast scenes.
        real: readers of labelled pairs; a share of the pairs is drawn from them.
    """

    def __init__(
        self,
        photos: Sequence[NDArray[np.uint8]],
        settings: PairSettings,
        seed: int,
        textures: Sequence[NDArray[np.uint8]] = (),
        real: Sequence[Callable[[], RectifiedPair]] = (),
    ) -> None:
        self.photos = photos
        self.surfaces = [*photos, *textures]
        self.settings = settings
        self.seed = seed
        self.real = real

    def __getitem__(self, number: int) -> Batch:
        generator = torch.Generator().manual_seed((self.seed << 32) + number)
        sizes = self.settings.sizes
        size = sizes[int(torch.randint(len(sizes), (), generator=generator))]
        count = max(1, round(self.settings.batch * math.prod(sizes[0]) / math.prod(size)))
        return collated([self._pair(size, generator) for _ in range(count)])

    def _pair(self, size: tuple[int, int], generator: torch.Generator) -> RectifiedPair:
        share = self.settings.real.share
        if self.real and float(torch.rand((), generator=generator)) < share:
            return self._real_pair(size, generator)
        draw = torch.rand(2, generator=generator).tolist()
        if draw[0] < self.settings.scenes:
            pair = stereo_scene_pair(self.surfaces, size, generator)
        else:
            pair = stereo_layered_pair(self.photos, size, generator)
        pair = flipped_and_swapped(pair) if draw[1] < 0.5 else pair
        return stereo_photometric(pair, generator)

    def _real_pair(self, size: tuple[int, int], generator: torch.Generator) -> RectifiedPair:
        """A window of a labelled pair; exchanged eyes only where both have labels."""
        number = int(torch.randint(len(self.real), (), generator=generator))
        whole = shrunk_pair(self.real[number](), self.settings.real.long_side)
        pair = random_window(whole, size, generator)
        swap = pair.both_sides and float(torch.rand((), generator=generator)) < 0.5
        return stereo_photometric(flipped_and_swapped(pair) if swap else pair, generator)


def collated(pairs: Sequence[RectifiedPair]) -> Batch:
    """Pairs of equal size as one batch."""
    nowhere = torch.zeros_like(pairs[0].occluded)
    right = [nowhere if p.occluded_right is None else p.occluded_right for p in pairs]
    return Batch(
        left=torch.stack([pair.left for pair in pairs]),
        right=torch.stack([pair.right for pair in pairs]),
        disp=torch.stack([pair.disp for pair in pairs]),
        known=torch.stack([pair.known for pair in pairs]),
        occluded=torch.stack([pair.occluded for pair in pairs]),
        occluded_right=torch.stack(right),
    )
