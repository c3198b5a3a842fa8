"""`python -m stereo export --onnx FILE`: the network in a file that runs without this package."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from data_scripts.command_line import check_counts
from data_scripts.export_options import ExportOptions, parse_size

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class ExportCommand(ExportOptions):
    """Write the network as ONNX, as a program of torch.export, or both.

    It takes rectified RGB images in [0, 1] of one size, float32 (B, 3, H, W), and gives the disparity in
    pixels of the left one, occlusion and confidence, float32 (B, H, W) each.

    Args:
        size: Height and width of the images in pixels, multiples of 16.
        batch: Pairs that run together.
        weights: Name of shipped weights, or a checkpoint file.
    """

    size: Annotated[str, tyro.conf.arg(metavar="HxW")] = "480x640"
    batch: int = 1
    weights: str = "small"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "batch")
        parse_size(self.size)


def parse(argv: Sequence[str]) -> ExportCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(ExportCommand, args=argv, prog="python -m stereo export")


def run(command: ExportCommand) -> str:
    """Writes the files; returns the line to print.

    Raises:
        ValueError: anything that the user can mend, as OSError.
    """
    from data_scripts.exported_file import Signature
    from stereo.checkpoint import load_checkpoint
    from stereo.predictor import weights_path

    command.check_files()
    network, _, _ = load_checkpoint(weights_path(command.weights))
    height, width = parse_size(command.size)
    program = traced(network, (height, width), command.batch)
    image, size = (
        f"({command.batch}, 3, {height}, {width})",
        f"({command.batch}, {height}, {width})",
    )
    notes = {
        "weights": Path(command.weights).stem,
        "left": f"{image} float32 RGB in [0, 1]",
        "right": f"{image} float32 RGB in [0, 1]; its rows are those of left",
        "disparity": f"{size} float32 in pixels of left; left x matches right x - disparity",
        "occlusion": f"{size} float32 in [0, 1], probability that right does not show it",
        "confidence": f"{size} float32 in [0, 1], probability that the disparity is right to 1 px",
    }
    signature = Signature(("left", "right"), ("disparity", "occlusion", "confidence"), notes)
    written = command.write(program, signature)
    return f"{written}: {command.batch} pairs of {height} x {width} px"


def traced(network: "nn.Module", size: tuple[int, int], batch: int = 1) -> "ExportedProgram":
    """The program of a stereo network for images of a size, without any op of ours.

    Args:
        network: as of `build_stereo`, in eval mode.
        size: height and width, px.
        batch: pairs.

    Raises:
        ValueError: the size is not a multiple of the network's `size_multiple`, or below its `min_side`.
    """
    import torch

    from attention_ops.gather_only import gather_only
    from stereo.exported_network import ThreeMaps

    multiple = int(getattr(network, "size_multiple", 1))
    smallest = int(getattr(network, "min_side", 1))
    if any(side % multiple or side < smallest for side in size):
        raise ValueError(
            f"a size must be of multiples of {multiple} px, at least {smallest}, got {size[0]}x{size[1]}; "
            "pad the images by repeating their last row and column"
        )
    images = torch.rand(batch, 3, *size), torch.rand(batch, 3, *size)
    with gather_only(), torch.no_grad():
        return torch.export.export(ThreeMaps(network).eval(), images)
