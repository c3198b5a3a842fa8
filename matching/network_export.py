"""`python -m matching export --onnx FILE`: the network in a file that runs without this package."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from data_scripts.export_options import ExportOptions, parse_size

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from matching.model import Matcher

Size = Annotated[str, tyro.conf.arg(metavar="HxW")]


@dataclass(frozen=True)
class NetworkCommand(ExportOptions):
    """Write the network as ONNX, as a program of torch.export, or both.

    It takes grey images in [0, 1] of one size, float32 (B, 1, H, W), and gives the surest matches in
    pixels of these images, padded with zeros to a fixed count, and how many there are.

    Args:
        size: Height and width of both images in pixels, multiples of 16 (8 for a LoFTR).
        size1: Height and width of the second image, if they are others.
        max_matches: At most so many matches, the best ones.
        masks: Whether the network also takes mask0 and mask1, bool (B, H, W), True = use, so that smaller
            images can be padded; with --torch alone.
        batch: Pairs that run together; 0 leaves the number open, with --torch alone.
        weights: Name of shipped weights, or a checkpoint file.
    """

    size: Size = "480x640"
    size1: Size | None = None
    max_matches: int = 2048
    masks: bool = False
    batch: int = 1
    weights: str = "small"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_matches < 1 or self.batch < 0:
            raise ValueError(
                "--max-matches must be 1 or more and --batch 0 or more, got "
                f"{self.max_matches} and {self.batch}"
            )
        if self.onnx is not None and not self.batch:
            raise ValueError(
                "--onnx wants a fixed --batch, 1 or more, got 0; only --torch leaves it open"
            )
        if self.onnx is not None and self.masks:
            raise ValueError(
                "--onnx wants images of the whole size, got --masks; only --torch has it"
            )
        parse_size(self.size)
        if self.size1 is not None:
            parse_size(self.size1)


def parse(argv: Sequence[str]) -> NetworkCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(NetworkCommand, args=argv, prog="python -m matching export")


def run(command: NetworkCommand) -> str:
    """Writes the files; returns the lines to print.

    Raises:
        ValueError: anything that the user can mend, as OSError.
    """
    from data_scripts.exported_file import Signature
    from matching.checkpoint import load_checkpoint
    from matching.predictor import weights_path

    command.check_files()
    matcher, _, _ = load_checkpoint(weights_path(command.weights))
    sizes = parse_size(command.size), parse_size(command.size1 or command.size)
    program = traced(matcher, sizes, command.max_matches, command.batch, masks=command.masks)
    inputs = ("image0", "image1", *(("mask0", "mask1") if command.masks else ()))
    signature = Signature(
        inputs, ("keypoints0", "keypoints1", "confidence", "count"), _notes(command, sizes)
    )
    said = " and ".join(f"{height} x {width}" for height, width in dict.fromkeys(sizes))
    written = command.write(program, signature)
    return f"{written}: images of {said} px, at most {command.max_matches} matches"


def traced(
    matcher: "Matcher",
    sizes: tuple[tuple[int, int], tuple[int, int]],
    max_matches: int,
    batch: int = 1,
    *,
    masks: bool = False,
) -> "ExportedProgram":
    """The program of `FixedCountMatcher` for images of these sizes, without any op of ours.

    Args:
        matcher: in eval mode.
        sizes: height and width of either image, px.
        max_matches: rows of the answer.
        batch: pairs; 0 leaves their number open.
        masks: whether it takes masks.

    Raises:
        ValueError: the matcher cannot be exported, or a size is not a multiple of its `size_multiple`.
    """
    import torch

    from attention_ops.gather_only import gather_only
    from matching.exported_network import FixedCountMatcher

    multiple = matcher.size_multiple
    for height, width in sizes:
        if height % multiple or width % multiple:
            raise ValueError(
                f"a size must be of multiples of {multiple} px, got {height}x{width}; pad with --masks"
            )
    network = FixedCountMatcher(matcher, max_matches).eval()
    pairs = batch or 2  # of one pair alone the tracer would conclude that there is never another
    inputs: list[Tensor] = [torch.rand(pairs, 1, *size) for size in sizes]
    if masks:
        inputs += [torch.ones(pairs, *size, dtype=torch.bool) for size in sizes]
    # The tracer finds the largest number itself: tensors have a limit of elements.
    shapes = None if batch else tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
    with gather_only(), torch.no_grad():
        return torch.export.export(network, tuple(inputs), dynamic_shapes=shapes)


def _notes(
    command: NetworkCommand, sizes: tuple[tuple[int, int], tuple[int, int]]
) -> dict[str, str]:
    """What a user of the file must know."""
    from matching.model import STRIDE

    (H0, W0), (H1, W1) = sizes
    N = min(command.max_matches, H0 // STRIDE * (W0 // STRIDE))
    return {
        "weights": Path(command.weights).stem,
        "image0": f"(B, 1, {H0}, {W0}) float32 grey in [0, 1]",
        "image1": f"(B, 1, {H1}, {W1}) float32 grey in [0, 1]",
        **(
            {f"mask{n}": f"(B, {H}, {W}) bool, True = use" for n, (H, W) in enumerate(sizes)}
            if command.masks
            else {}
        ),
        "keypoints0": f"(B, {N}, 2) float32 x, y in pixels of image0, centre of the "
        "top-left pixel at (0, 0)",
        "keypoints1": f"(B, {N}, 2) float32, the same in image1",
        "confidence": f"(B, {N}) float32 in [0, 1], best first",
        "count": "(B,) int64 number of matches; rows from there on are 0",
    }
