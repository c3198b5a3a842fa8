"""The door for users: two rectified images in, disparity in pixels of the left one out.

How images are checked, shrunk and padded is told in `stereo.prepare`, how large ones are cut in
`stereo.tiles`.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from attention_ops.precision import chosen_device, fast_dtype
from data_scripts.attempts import FailedPair, attempt
from data_scripts.given_images import Image
from data_scripts.weights_file import find_weights
from stereo.checkpoint import load_checkpoint
from stereo.disparity import Disparity
from stereo.options import GIBIBYTE, SMALLEST_TILE, StereoOptions
from stereo.output import StereoOutput
from stereo.prepare import PreparedPair, padded_tensor, prepare_pair, to_given_pixels
from stereo.tiles import in_pieces

__all__ = ["Disparity", "FailedPair", "StereoPredictor", "load_predictor"]

WEIGHTS = Path(__file__).parent / "weights"
# Peak of `small` in float32: maps at full size, and transport of each row at a quarter of it.
BYTES_PER_PIXEL = 500
BYTES_PER_PIXEL_AND_COLUMN = 0.5


class StereoPredictor:
    """Disparities of rectified pairs by one network; see `load_predictor`, which makes one.

    Calls with the same arguments give the same answer. Gradients are never recorded and no global setting
    of torch is touched.

    Args:
        network: called as network(left, right) with (B, 3, H, W) RGB in [0, 1], gives a StereoOutput.
            Sides are made multiples of its `size_multiple`, and no less than its `min_side`; it is told
            `semi_global` if it says `takes_semi_global`. It is copied, so the caller's stays as it is.
        device: where to run, as torch names it.
        dtype: torch.float32 or torch.bfloat16; None takes bfloat16 where the processor has it.
        options: what is asked of every prediction.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        options: StereoOptions | None = None,
    ) -> None:
        if dtype not in (None, torch.float32, torch.bfloat16):
            raise ValueError(f"dtype must be torch.float32 or torch.bfloat16, got {dtype}")
        self.device = chosen_device(device)
        self.dtype = fast_dtype(self.device) if dtype is None else dtype
        self.options = options or StereoOptions()
        network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        # torch's own types lack the overload for memory_format.
        self._network = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def predict(self, left: Image, right: Image, **options: Any) -> Disparity:
        """Disparity, occlusion and confidence of one pair, in pixels of the left image as given.

        Args:
            left: a path; an array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4), uint8, uint16 or float in
                [0, 1]; or a tensor (H, W) or (C, H, W). Alpha is dropped.
            right: the same, of the same size. Its rows are those of the left image: the pair is rectified.
            **options: of `StereoOptions`, instead of those of the predictor.

        Raises:
            FileNotFoundError: a path without a file.
            ValueError: an image or option with a wrong value or shape, or unequal sizes.
            TypeError: an image of a wrong type.
        """
        chosen = replace(self.options, **options)
        return self._answer(prepare_pair(left, right, chosen.long_side), chosen)

    def predict_many(
        self,
        pairs: Iterable[Sequence[Image]],
        *,
        on_error: Literal["raise", "record"] = "raise",
        **options: Any,
    ) -> Iterator[Disparity | FailedPair]:
        """Disparities of many pairs, in their order, one at a time; pairs of any mix of sizes.

        Each answer is that of `predict` to the last bit.

        Args:
            pairs: (left, right), each as in `predict`.
            on_error: "raise" stops at the first bad pair; "record" gives a `FailedPair` in its place.
            **options: as in `predict`.
        """
        if on_error not in ("raise", "record"):
            raise ValueError(f"on_error must be 'raise' or 'record', got {on_error!r}")
        chosen = replace(self.options, **options)
        return (attempt(partial(self._one, pair, chosen), on_error == "record") for pair in pairs)

    def _one(self, pair: Sequence[Image], options: StereoOptions) -> Disparity:
        if len(pair) != 2:
            raise ValueError(f"a pair must be (left, right), got {len(pair)} entries")
        return self._answer(prepare_pair(pair[0], pair[1], options.long_side), options)

    def _answer(self, pair: PreparedPair, options: StereoOptions) -> Disparity:
        height, width = pair.left.shape[:2]
        tile = _tile(height, width, options)

        def answer(rows: slice, columns: slice) -> np.ndarray:
            return self._maps(pair.left[rows, columns], pair.right[rows, columns], options)

        return to_given_pixels(in_pieces(answer, (height, width), tile), pair.size)

    def _maps(self, left: np.ndarray, right: np.ndarray, options: StereoOptions) -> np.ndarray:
        """Disparity, occlusion and confidence (3, h, w) of images (h, w, 3) as the network sees them."""
        height, width = left.shape[:2]
        smallest = int(getattr(self._network, "min_side", 1))
        multiple = int(getattr(self._network, "size_multiple", 1))
        left_view, right_view = (
            padded_tensor(image, multiple, smallest).to(self.device) for image in (left, right)
        )
        output = self._run(left_view, right_view, options)
        maps = torch.cat([output.disparity, output.occlusion, output.confidence])
        return maps[:, :height, :width].float().cpu().numpy()

    def _run(self, left: Tensor, right: Tensor, options: StereoOptions) -> StereoOutput:
        mixed = self.dtype is torch.bfloat16
        takes = getattr(self._network, "takes_semi_global", False)
        asked = {"semi_global": options.semi_global} if takes else {}
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=mixed),
        ):
            output: StereoOutput = self._network(left, right, **asked)
        return output


def _tile(height: int, width: int, options: StereoOptions) -> tuple[int, int]:
    """Rows and columns of a piece."""
    rows, columns = options.tile or (height, width)
    if options.max_memory is None:
        return rows, columns
    columns = min(columns, width)
    per_row = columns * (BYTES_PER_PIXEL + BYTES_PER_PIXEL_AND_COLUMN * columns)
    fitting = int(options.max_memory * GIBIBYTE / per_row)
    if fitting < min(height, SMALLEST_TILE):
        least = per_row * min(height, SMALLEST_TILE) / GIBIBYTE
        raise ValueError(
            f"max_memory must be {least:.2f} gibibytes or more for {columns} columns, got "
            f"{options.max_memory}; shrink the pair with long_side or cut columns with tile"
        )
    return min(rows, fitting), columns


def load_predictor(
    name_or_path: str | Path | nn.Module = "small",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    **options: Any,
) -> StereoPredictor:
    """A predictor with shipped weights (by name), with those of a checkpoint file, or round a network.

    Examples:
        >>> disparity = load_predictor("small").predict("left.png", "right.png")  # doctest: +SKIP

    Args:
        name_or_path: see above.
        device: see `StereoPredictor`, as the next one.
        dtype: number format of the network.
        **options: of `StereoOptions`: long_side, tile, max_memory, semi_global.

    Raises:
        ValueError: the file is no checkpoint, or an option has a wrong value.
        FileNotFoundError: no weights of that name are shipped, or there is no such file.
    """
    if isinstance(name_or_path, nn.Module):
        network = name_or_path
    else:
        network, _, _ = load_checkpoint(weights_path(name_or_path))
    return StereoPredictor(network, device=device, dtype=dtype, options=StereoOptions(**options))


def weights_path(name_or_path: str | Path) -> Path:
    """The checkpoint file that a name of shipped weights, or a path, stands for."""
    return find_weights(name_or_path, WEIGHTS)
