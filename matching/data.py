"""Training batches: synthetic pairs drawn on the fly, with labels, the same for the same number.

Batch number n depends on the seed and n alone, so a resumed run goes on with the batch it would have
seen, and the validation batches are the same for every run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_scripts.crop import random_crop
from data_scripts.frame_border import framed
from data_scripts.images import GREY
from data_scripts.layered import LayeredSettings, layered_pair, unrelated_pair
from data_scripts.photo_training import Photos, check_shares, check_sizes
from data_scripts.photometric import PhotometricSettings, photometric
from data_scripts.scene import SceneSettings, scene_pair
from data_scripts.train_loop import VALIDATION_SEED
from data_scripts.two_view import TwoView
from matching.labels import pair_labels
from matching.real_pairs import RealPairSettings, real_pairs


@dataclass(frozen=True)
class Batch:
    """B labelled pairs of one size; fields as in `matching.labels.PairLabels`."""

    image0: Tensor  # (B, 1, H, W) grey in [0, 1]
    image1: Tensor  # (B, 1, H, W)
    partner: Tensor  # (B, L) int64
    target: Tensor  # (B, L, 2)
    known: Tensor  # (B, L) bool

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

    sizes: tuple[tuple[int, int], ...] = ((192, 192), (160, 224), (224, 160))  # H, W; one a batch
    batch: int = 8  # pairs in a batch of the first size; another size gets about as many pixels
    scenes: float = 0.2  # share of ray-cast scenes; the others are layered planes
    negatives: float = 0.05  # share of pairs that show different things
    easy: float = 0.3  # difficulty of the first batch; the last of the ramp has 1
    ramp: int = 4000  # batches over which pairs become difficult
    real: RealPairSettings = field(default_factory=RealPairSettings)

    def __post_init__(self) -> None:
        check_sizes(self.sizes, self.batch)
        check_shares(scenes=self.scenes, negatives=self.negatives, easy=self.easy)
        if self.ramp < 0:
            raise ValueError(f"ramp must be 0 batches or more, got {self.ramp}")


class PairBatches(Dataset[Batch]):
    """Batch number n of an endless stream, from photographs.

    Args:
        photos: the photographs.
        settings: sizes and shares.
        centre: where the middle of a coarse cell lies in it, in pixels.
        seed: first part of the seed of every batch.
        real: readers of labelled real pairs; a share of the pairs is drawn from them.
        textures: images that serve, with the photographs, as surfaces of ray-cast scenes.
    """

    def __init__(
        self,
        photos: Photos,
        settings: PairSettings,
        centre: float,
        seed: int,
        real: Sequence[Callable[[], TwoView]] = (),
        textures: Photos = (),
    ) -> None:
        self.photos = photos
        self.surfaces = [*photos, *textures]
        self.real = real
        self.settings = settings
        self.centre = centre
        self.seed = seed

    def __getitem__(self, number: int) -> Batch:
        views = self.views(number)
        labels = [pair_labels(view, self.centre) for view in views]
        return Batch(
            image0=torch.stack([grey(view.image0) for view in views]),
            image1=torch.stack([grey(view.image1) for view in views]),
            partner=torch.stack([label.partner for label in labels]),
            target=torch.stack([label.target for label in labels]),
            known=torch.stack([label.known for label in labels]),
        )

    def views(self, number: int) -> list[TwoView]:
        """The pairs of batch `number`, all of one size, before labels are made of them."""
        generator = torch.Generator().manual_seed((self.seed << 32) + number)
        sizes = self.settings.sizes
        size = sizes[int(torch.randint(len(sizes), (), generator=generator))]
        difficulty = self._difficulty(number)
        count = max(1, round(self.settings.batch * math.prod(sizes[0]) / math.prod(size)))
        views = [self._view(size, difficulty, generator) for _ in range(count)]
        return [framed(_taken(view, difficulty, generator), generator) for view in views]

    def _difficulty(self, number: int) -> float:
        """From `easy` to 1 along the ramp, so that a fresh network has something it can learn."""
        done = min(1.0, number / max(self.settings.ramp, 1))
        return self.settings.easy + (1 - self.settings.easy) * done

    def _view(
        self, size: tuple[int, int], difficulty: float, generator: torch.Generator
    ) -> TwoView:
        if self.real and float(torch.rand((), generator=generator)) < self.settings.real.share:
            number = int(torch.randint(len(self.real), (), generator=generator))
            return random_crop(self.real[number](), size, generator)
        draw = float(torch.rand((), generator=generator))
        if draw < self.settings.negatives:
            return unrelated_pair(self.photos, size, generator)
        if draw < self.settings.negatives + self.settings.scenes:
            return scene_pair(self.surfaces, size, generator, _scene_settings(difficulty))
        return layered_pair(self.photos, size, generator, _layered_settings(difficulty))


def training_pairs(
    settings: PairSettings, centre: float, seed: int, photos: Photos, textures: Photos
) -> PairBatches:
    """What a run trains on: pairs made of the photographs, and the real pairs of its settings.

    Raises:
        ValueError, FileNotFoundError: see `real_pairs`.
    """
    return PairBatches(photos, settings, centre, seed, real_pairs(settings.real), textures)


def validation_pairs(settings: PairSettings, centre: float, photos: Photos) -> PairBatches:
    """What a run is validated on: made pairs of one size and difficulty, whatever the run."""
    plain = replace(settings, sizes=((256, 256),), easy=0.6, ramp=10**9)
    return PairBatches(photos, plain, centre, VALIDATION_SEED)


def _layered_settings(difficulty: float) -> LayeredSettings:
    """Stage 1 at a difficulty in [0, 1]."""
    full = LayeredSettings()
    return replace(
        full,
        max_zoom=1 + (full.max_zoom - 1) * difficulty,
        max_tilt_deg=full.max_tilt_deg * difficulty,
        max_roll_deg=full.max_roll_deg * difficulty,
        free_roll_share=full.free_roll_share * difficulty,
        max_cutouts=round(full.max_cutouts * difficulty),
        min_overlap=0.7 + (full.min_overlap - 0.7) * difficulty,
    )


def _scene_settings(difficulty: float) -> SceneSettings:
    """Stage 2 at a difficulty in [0, 1]."""
    full = SceneSettings()
    return replace(
        full,
        min_overlap=0.7 + (full.min_overlap - 0.7) * difficulty,
        max_baseline=full.max_baseline * difficulty,
        max_roll_deg=full.max_roll_deg * difficulty,
        relit_share=full.relit_share * difficulty,
    )


def _taken(view: TwoView, difficulty: float, generator: torch.Generator) -> TwoView:
    """`view` as two cameras would take it, each after its own photometric change."""
    settings = PhotometricSettings(strength=difficulty)
    image0 = photometric(view.image0, generator, settings)
    return replace(view, image0=image0, image1=photometric(view.image1, generator, settings))


def grey(image: Tensor) -> Tensor:
    """Image (3, H, W) as grey (1, H, W)."""
    return (image * image.new_tensor(GREY)[:, None, None]).sum(0, keepdim=True)
