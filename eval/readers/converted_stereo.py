"""Rectified pairs of a data set that `python -m data_scripts` has converted into HDF5."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_scripts import schema
from data_scripts.dataset import open_dataset
from eval.image_source import ConvertedImage, opened
from eval.stereo_pairs import StereoPair, StereoTruth, seen_inside
from stereo.disparity import occlusion_from_disparities


@dataclass(frozen=True)
class ConvertedRule:
    """What the masks of a set mean, and how its pairs are grouped."""

    border: bool = (
        False  # whether a pixel whose match lies outside is hidden even where the mask says seen
    )
    covered_known: bool = True  # False: the mask tells what leaves the image, not what is covered
    by_group: bool = False  # whether the averages are of each group of the file or of all of it


@dataclass(frozen=True)
class ConvertedTruth:
    """The labels of one pair of a converted file."""

    file: Path
    left: int  # number of the image
    right: int
    rule: ConvertedRule

    def read(self) -> StereoTruth:
        """Disparity, occlusion as the set tells it, and what leaves the right image.

        Raises:
            ValueError: the pair has no disparity.
        """
        data = opened(self.file)
        left, right = data.image(self.left), data.image(self.right)
        disp = left.disparity()
        if disp is None:
            raise ValueError(f"{self.file}: wanted a disparity of {left.name}, got none")
        objects = left.objects()
        foreground = None if objects is None else objects > 0
        codes, other = left.occlusion(), right.disparity()
        inside = seen_inside(disp)
        if codes is not None:
            seen = np.isfinite(disp) & (codes == schema.SEEN_BY_BOTH)
            seen = seen & inside if self.rule.border else seen
            return StereoTruth(disp, seen, self.rule.covered_known, foreground)
        if other is not None:
            hidden, _ = occlusion_from_disparities(disp, other)
            return StereoTruth(disp, inside & ~hidden, occlusion_known=True, foreground=foreground)
        return StereoTruth(disp, inside, foreground=foreground)


def read_converted_stereo(path: Path, rule: ConvertedRule | None = None) -> list[StereoPair]:
    """All pairs of the file whose left image has a disparity, in its order.

    Raises:
        FileNotFoundError, ValueError: no such file, none of this kind, or one without disparities.
    """
    rule = rule or ConvertedRule()
    with open_dataset(path) as data:
        pairs = []
        for record in data:
            if "disparity" not in record.image0.maps:
                continue
            left, right = (ConvertedImage(path, i.number) for i in (record.image0, record.image1))
            truth = ConvertedTruth(path, left.number, right.number, rule)
            ndisp = None if record.ndisp is None else float(record.ndisp)
            group = (record.group if rule.by_group else "") or data.info.dataset
            pairs.append(StereoPair(record.name, group, left, right, truth, ndisp=ndisp))
    if not pairs:
        raise ValueError(f"{path}: wanted pairs with disparities, got none")
    return pairs
