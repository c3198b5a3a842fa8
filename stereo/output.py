"""What a stereo network says of a batch of rectified pairs."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StereoOutput:
    """Dense answers for the left images, in their pixels."""

    disparity: Tensor  # (B, H, W) px; left pixel x matches right pixel x - disparity
    occlusion: Tensor  # (B, H, W) in [0, 1], probability that the right image does not show it
    confidence: Tensor  # (B, H, W) in [0, 1]
