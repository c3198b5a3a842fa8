"""`python -m stereo convert`: official STTR and STTR-light checkpoints to safetensors of ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

PROG = "python -m stereo convert"


@dataclass(frozen=True)
class ConvertCommand:
    """Write an official STTR or STTR-light checkpoint as safetensors, which load_predictor reads.

    Args:
        official: The .pth.tar file; only tensors are read from it, nothing in it is run.
        output: The .safetensors file to write.
    """

    official: tyro.conf.Positional[Path]
    output: tyro.conf.Positional[Path]


def parse(argv: Sequence[str]) -> ConvertCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(ConvertCommand, args=argv, prog=PROG)


def run(command: ConvertCommand) -> str:
    """Converts; returns the line to print.

    Raises:
        ValueError: no official checkpoint, or nowhere to write; as OSError.
    """
    from data_scripts.atomic import keep_apart, writable
    from stereo.checkpoint import save_checkpoint
    from stereo.config import PRESETS
    from stereo.official import load_official

    output = writable(command.output, (".safetensors",))
    keep_apart((output,), (command.official,))
    network = load_official(command.official)
    preset = "sttr_light" if network.light else "sttr"
    card = {"source": command.official.name, "preset": preset, "converted_by": "quadview"}
    save_checkpoint(output, network, PRESETS[preset], card)
    count = sum(value.numel() for value in network.parameters())
    return f"{output}: preset {preset}, {count / 1e6:.1f} million parameters"
