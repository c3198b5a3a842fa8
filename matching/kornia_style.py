"""Our matchers behind the face of `kornia.feature.LoFTR`: code written for that runs with this in its place.

-matcher = kornia.feature.LoFTR(pretrained="outdoor")
+matcher = matching.kornia_style.KorniaMatcher("small")
"""

from pathlib import Path

import torch
from kornia.feature import LoFTR
from torch import Tensor, nn
from torch.nn import functional as F

from matching.checkpoint import load_checkpoint
from matching.model import Matcher
from matching.predictor import weights_path


class KorniaMatcher(LoFTR):
    """Takes {"image0", "image1"} as tensors, gives key points, confidence and batch indexes.

    It is a subclass of kornia's so that kornia's own users of it, such as `ImageStitcher`, take it; it shares
    no weights and no code with it. Images are matched at the size given, padded where a side is no multiple
    of the network's; `matching.load_predictor` is the door for files, masks of arrays and shrinking.

    Args:
        pretrained: name of shipped weights, a checkpoint file, or a Matcher.
    """

    def __init__(self, pretrained: str | Path | Matcher = "small") -> None:
        nn.Module.__init__(self)  # kornia's own would build kornia's network
        if isinstance(pretrained, str | Path):
            self.matcher, _, _ = load_checkpoint(weights_path(pretrained))
        else:
            self.matcher = pretrained
        self.eval()

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        """Matches a batch of pairs.

        Args:
            data: image0 (B, 1, H0, W0) and image1 (B, 1, H1, W1), grey in [0, 1]; mask0 (B, H0, W0) and mask1
                (B, H1, W1) if wanted, 0 = do not use.

        Returns:
            keypoints0 (N, 2) and keypoints1 (N, 2), x, y in pixels, the centre of the top-left pixel at
            (0, 0); confidence (N,) in [0, 1], best first within a pair; batch_indexes (N,) int64, ascending.

        Raises:
            ValueError: an image is missing or has another shape.
            TypeError: an image is no tensor.
        """
        sides = [_side(data, number, self.matcher.size_multiple) for number in (0, 1)]
        if len(sides[0][0]) != len(sides[1][0]):
            raise ValueError(
                "image0 and image1 must be one batch, got "
                f"{len(sides[0][0])} and {len(sides[1][0])} images"
            )
        (image0, mask0), (image1, mask1) = sides
        found = self.matcher(image0, image1, mask0, mask1)
        keep = _inside(found.kpts0, data["image0"]) & _inside(found.kpts1, data["image1"])
        dtype = data["image0"].dtype
        return {
            "keypoints0": found.kpts0[keep].to(dtype),
            "keypoints1": found.kpts1[keep].to(dtype),
            "confidence": found.confidence[keep].to(dtype),
            "batch_indexes": found.pair[keep],
        }


def _side(data: dict[str, Tensor], number: int, multiple: int) -> tuple[Tensor, Tensor | None]:
    """Image and mask of one side, padded at the bottom and the right to multiples."""
    name = f"image{number}"
    image = data.get(name)
    if image is None:
        raise ValueError(f"wanted {name} (B, 1, H, W), got {sorted(data)}; features are not taken")
    if not isinstance(image, Tensor):
        raise TypeError(f"{name} must be a tensor (B, 1, H, W), got {type(image).__name__}")
    if image.dim() != 4 or image.shape[1] != 1 or not image.is_floating_point():
        raise ValueError(
            f"{name} must be (B, 1, H, W) grey as float in [0, 1], got {image.dtype} {tuple(image.shape)}; "
            "see kornia.color.rgb_to_grayscale"
        )
    H, W = image.shape[-2:]
    mask = data.get(f"mask{number}")
    padding = (0, -W % multiple, 0, -H % multiple)
    if mask is None and not any(padding):
        return image, None
    real = torch.ones_like(image[:, 0], dtype=torch.bool) if mask is None else mask.bool()
    if real.shape != image[:, 0].shape:
        raise ValueError(
            f"mask{number} must be {tuple(image[:, 0].shape)}, got {tuple(real.shape)}"
        )
    return F.pad(image, padding), F.pad(real, padding, value=False)


def _inside(kpts: Tensor, image: Tensor) -> Tensor:
    """Which points (N, 2) lie between the centres of the corner pixels."""
    H, W = image.shape[-2:]
    last = kpts.new_tensor((W - 1, H - 1))
    return ((kpts >= 0) & (kpts <= last)).all(1)
