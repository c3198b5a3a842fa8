"""`python -m matching convert`: official LoFTR and QuadTree checkpoints to safetensors of ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

PROG = "python -m matching convert"


@dataclass(frozen=True)
class ConvertCommand:
    """Write an official LoFTR or QuadTree checkpoint as safetensors, which load_predictor reads.

    Args:
        official: The .ckpt or .pth file; only tensors are read from it, nothing in it is run.
        output: The .safetensors file to write.
        preset: What the file itself does not say. loftr: indoor_ds, outdoor_ds; loftr_new: indoor_ds_new;
            loftr_ot: indoor_ot, outdoor_ot; quadtree, quadtree_outdoor, quadtree_a: QuadTree. auto takes the
            one that the name of the file stands for.
    """

    official: tyro.conf.Positional[Path]
    output: tyro.conf.Positional[Path]
    preset: str = "auto"


# A released LoFTR file says by its name alone which position encoding it was trained with.
PRESET_OF_NAME = {
    "indoor_ds": "loftr",
    "outdoor_ds": "loftr",
    "indoor_ds_new": "loftr_new",
    "indoor_ot": "loftr_ot",
    "outdoor_ot": "loftr_ot",
}


def parse(argv: Sequence[str]) -> ConvertCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(ConvertCommand, args=argv, prog=PROG)


def run(command: ConvertCommand) -> str:
    """Converts; returns the line to print.

    Raises:
        ValueError: no official checkpoint, not of that preset, or nowhere to write; as OSError.
    """
    from data_scripts.atomic import keep_apart, writable
    from matching.checkpoint import save_checkpoint
    from matching.official import load_official

    output = writable(command.output, (".safetensors",))
    keep_apart((output,), (command.official,))
    preset = preset_of(command.official) if command.preset == "auto" else command.preset
    matcher, config = load_official(command.official, preset)
    card = {"source": command.official.name, "preset": preset, "converted_by": "quadview"}
    save_checkpoint(output, matcher, config, card)
    count = sum(value.numel() for value in matcher.parameters())
    return f"{output}: preset {preset}, {count / 1e6:.1f} million parameters"


def preset_of(path: Path) -> str:
    """The preset that the name of a released LoFTR file stands for.

    Raises:
        ValueError: it is no such name; to guess could load weights that then match wrongly.
    """
    if path.stem not in PRESET_OF_NAME:
        raise ValueError(
            f"{path}: the preset cannot be told from this name; say --preset loftr, loftr_new, loftr_ot, "
            "quadtree, quadtree_outdoor or quadtree_a"
        )
    return PRESET_OF_NAME[path.stem]
