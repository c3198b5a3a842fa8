"""`python -m eval convergence`: how fast point decoders learn, by the attention in them.

Writes convergence.json (settings, machine, a row for each validation), convergence.md and convergence.png;
log.jsonl grows meanwhile, features.pt holds what the decoders read. A run that
was stopped goes on with the decoders and seeds that are missing.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from data_scripts.command_line import check_counts, run_command

if TYPE_CHECKING:
    from eval.convergence import Budget, FixedPairs, Row

PROG = "python -m eval convergence"
Attention = Literal["full", "conditional", "deformable", "quadtree"]


@dataclass(frozen=True)
class Arguments:
    """Validation accuracy of point decoders against training steps, under one budget."""

    photos: Path
    """Folder of photographs that synthetic pairs are made of; every twelfth is kept for validation."""
    attentions: tuple[Attention, ...] = ("full", "conditional", "deformable", "quadtree")
    """Of the decoders."""
    seeds: tuple[int, ...] = (0, 1)
    """Of the weights at the start; each decoder is trained once for each."""
    pairs: int = 2000
    """Pairs to train on."""
    validation_pairs: int = 64
    """Pairs of other photographs to validate on."""
    side: int = 64
    """Of the images, px, a multiple of 16."""
    points: int = 128
    """Points of each pair."""
    channels: int = 128
    """Of the decoders."""
    layers: int = 3
    """Of the decoders."""
    alike: bool = True
    """Whether attention starts by comparing what queries and cells show."""
    steps: int = 2000
    """Of each run."""
    validate_every: int = 50
    """Steps between validations."""
    batch: int = 8
    """Pairs of a step."""
    points_per_step: int = 48
    """Points of each pair of a step."""
    learning_rate: float = 1e-3
    """Constant after 100 steps of warm-up."""
    weights: str = "small"
    """Matcher whose features the decoders read: a shipped name or a checkpoint."""
    out: Path = Path("out/convergence")
    """Folder for convergence.json, convergence.md and convergence.png."""


@dataclass(frozen=True)
class Reached:
    """What one decoder came to."""

    attention: str
    final: list[float]  # share within 8 px at the end, a seed each
    steps: list[int | None] = field(default_factory=list)  # to reach what full reaches at its end


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 for an input that is not as it must be."""
    return run_command(PROG, lambda: show(tyro.cli(Arguments, prog=PROG, args=argv)))


def show(arguments: Arguments) -> None:
    """Trains, writes the files, and prints the table and where they are."""
    from eval.console import print_tables
    from eval.tables import terminal_table

    rows = measure(arguments)
    print_tables([terminal_table(HEADINGS, cells(rows), wrap=True)])
    print(f"{arguments.out / 'convergence.json'}, {arguments.out / 'convergence.png'}")


def measure(arguments: Arguments) -> "list[Row]":
    """Trains what is missing, writes the files after each run, gives all rows.

    Raises:
        ValueError: a size below 1, or a folder with the rows of other settings.
        FileNotFoundError: no photographs or weights.
    """
    from tqdm import tqdm

    from eval.convergence import learn
    from matching.point_config import PointConfig

    _check(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = _kept(arguments)
    done = {(row.attention, row.seed) for row in rows}
    runs = [(name, seed) for seed in arguments.seeds for name in arguments.attentions]
    missing = [run for run in runs if run not in done]
    if missing:
        training, validation = _pairs(arguments)
    for name, seed in missing:
        channels = training.tokens0.shape[1], training.fine0.shape[1]
        config = PointConfig(
            attention=name,
            start="learned",
            alike=arguments.alike,
            channels=arguments.channels,
            layers=arguments.layers,
            refinements=0,
            coarse_channels=channels[0],
            fine_channels=channels[1],
        )
        with tqdm(total=arguments.steps, desc=f"{name}, seed {seed}", disable=None) as bar:
            for row in learn(config, seed, training, validation, _budget(arguments)):
                rows.append(row)
                bar.update(row.step - bar.n)
                _log(arguments.out / "log.jsonl", row)
        _write_all(arguments, rows)
    if not missing:
        _write_all(arguments, rows)
    return rows


def _check(arguments: Arguments) -> None:
    names = ("pairs", "validation_pairs", "points", "steps", "batch", "points_per_step")
    check_counts(arguments, *names)
    if arguments.side < 32 or arguments.side % 16:
        raise ValueError(f"--side must be a multiple of 16 and 32 or more, got {arguments.side}")
    if not arguments.seeds or not arguments.attentions or arguments.validate_every < 1:
        raise ValueError("--seeds, --attentions and --validate-every must name something")


def _budget(arguments: Arguments) -> "Budget":
    from eval.convergence import Budget

    return Budget(
        steps=arguments.steps,
        validate_every=arguments.validate_every,
        batch=arguments.batch,
        points=arguments.points_per_step,
        learning_rate=arguments.learning_rate,
    )


def _pairs(arguments: Arguments) -> "tuple[FixedPairs, FixedPairs]":
    """Features to train on and to validate on; kept in OUT/features.pt for a run that goes on."""
    import torch

    from eval.convergence import FixedPairs

    path = arguments.out / "features.pt"
    sets: list[FixedPairs] = []
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if saved["made_by"] == _data(arguments):
            sets = [FixedPairs(**each) for each in saved["sets"]]
    if not sets:
        sets = _made_pairs(arguments)
        temporary = path.with_suffix(".tmp")
        kept = {"made_by": _data(arguments), "sets": [vars(each) for each in sets]}
        torch.save(kept, temporary)
        temporary.replace(path)
    return sets[0], sets[1]


def _data(arguments: Arguments) -> list[str]:
    """What the features depend on."""
    names = ("photos", "weights", "pairs", "validation_pairs", "side", "points")
    return [str(getattr(arguments, name)) for name in names]


def _made_pairs(arguments: Arguments) -> "list[FixedPairs]":
    from tqdm import tqdm

    from data_scripts.photos import PhotoFolder
    from eval.convergence import BATCH, TRAINING_SEED, VALIDATION_SEED, fixed_pairs, joined
    from matching.checkpoint import load_checkpoint
    from matching.predictor import weights_path

    matcher, _, _ = load_checkpoint(weights_path(arguments.weights))
    photos = PhotoFolder(arguments.photos)
    kept = [photo for number, photo in enumerate(photos) if number % 12]
    sets = []
    for use, count, seed in (
        (kept, arguments.pairs, TRAINING_SEED),
        (photos[::12], arguments.validation_pairs, VALIDATION_SEED),
    ):
        parts = fixed_pairs(matcher, use, count, arguments.side, arguments.points, seed)
        bar = tqdm(parts, "features", total=-(-count // BATCH), unit="batch", disable=None)
        sets.append(joined(list(bar)))
    return sets


def _kept(arguments: Arguments) -> "list[Row]":
    """Rows of an earlier run with the same settings."""
    from eval.convergence import Row

    path = arguments.out / "convergence.json"
    if not path.exists():
        return []
    try:
        saved = json.loads(path.read_text())
        rows = [Row(**row) for row in saved["rows"]]
        settings = saved["settings"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: wanted the rows of this command, got {error}; give another --out"
        ) from error
    if settings != _settings(arguments):
        raise ValueError(f"{path}: was made with other settings; give another --out")
    return rows


def _log(path: Path, row: "Row") -> None:
    """Appends a validation, for those who watch."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def _settings(arguments: Arguments) -> dict[str, Any]:
    """What must be equal for rows to belong together."""
    free = ("out", "photos", "attentions", "seeds")
    return {name: value for name, value in vars(arguments).items() if name not in free}


def _write_all(arguments: Arguments, rows: "list[Row]") -> None:
    from data_scripts.atomic import write_text
    from eval.convergence_picture import draw_convergence
    from eval.record import write_record
    from eval.tables import markdown

    path = arguments.out / "convergence.json"
    write_record(path, settings=_settings(arguments), rows=rows)
    write_text(arguments.out / "convergence.md", markdown(HEADINGS, cells(rows)))
    title = (
        f"point decoders without correlation start, {arguments.side} px, {arguments.pairs} pairs, "
        f"{arguments.layers} layers of {arguments.channels} channels, rate {arguments.learning_rate:g}"
    )
    draw_convergence(rows, title, arguments.out / "convergence.png")


def reached(rows: "Sequence[Row]") -> list[Reached]:
    """Accuracy at the end of each decoder, and its steps to what full attention has at its end."""
    from eval.convergence import final_accuracy, steps_to_reach

    found = []
    for name in dict.fromkeys(row.attention for row in rows):
        seeds = list(dict.fromkeys(row.seed for row in rows if row.attention == name))
        final = [final_accuracy(rows, name, seed) for seed in seeds]
        full = {row.seed for row in rows if row.attention == "full"}
        steps = [
            steps_to_reach(rows, name, seed, final_accuracy(rows, "full", seed))
            for seed in seeds
            if seed in full
        ]
        found.append(Reached(name, final, steps))
    return found


HEADINGS = ("decoder", "within 8 px at the end, by seed", "steps to what full reaches, by seed")


def _cells(row: Reached) -> list[str]:
    final = ", ".join(f"{100 * share:.1f} %" for share in row.final)
    return [row.attention, final, ", ".join("never" if n is None else str(n) for n in row.steps)]


def cells(rows: "Sequence[Row]") -> list[list[str]]:
    """What came out, under HEADINGS: first of no decoder at all."""
    own = ["own place", f"{100 * rows[0].own_place_8px:.1f} %", ""]
    return [own, *map(_cells, reached(rows))]
