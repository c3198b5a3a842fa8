"""`python -m matching recall`: how well our descriptors find the images that belong together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from matching.options import DEFAULT_LONG_SIDE


@dataclass(frozen=True)
class RecallCommand:
    """Recall of retrieval by our descriptors: all images below --images are candidates for each.

    Args:
        images: Folder of images, searched recursively.
        pairs: Lists of pairs that belong together, .json or text; names are below the folder of the list.
        at: Numbers of neighbours at which to tell the recall.
        weights: Name of shipped weights, or a checkpoint file.
        long_side: Longest side in pixels that the network sees.
        device: cpu, cuda or cuda:N.
    """

    images: Path
    pairs: tuple[Path, ...]
    at: tuple[int, ...] = (1, 5, 10, 20)
    weights: str = "small"
    long_side: int | None = DEFAULT_LONG_SIDE
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.at or min(self.at) < 1:
            raise ValueError(f"--at must be numbers of 1 or more, got {self.at}")


def parse(argv: Sequence[str]) -> RecallCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(RecallCommand, args=argv, prog="python -m matching recall")


def run(command: RecallCommand) -> str:
    """Describes all images and measures; returns the lines to print.

    Raises:
        ValueError: anything that the user can mend, as TypeError and OSError.
    """
    from matching.pair_lists import image_names

    names = image_names(command.images)
    truths = {path: _truth(path, command.images, names) for path in command.pairs}

    from tqdm import tqdm

    from matching.descriptors import described
    from matching.feature_store import FeatureStore, StoreLimits
    from matching.predictor import load_predictor
    from matching.retrieval import nearest_images, recall

    predictor = load_predictor(command.weights, device=command.device, long_side=command.long_side)
    limits = StoreLimits(memory_gb=0, disk_gb=0)
    store = FeatureStore(predictor, command.images, names, command.images, limits)
    with tqdm(total=len(names), unit="image") as bar:
        vectors, errors = described(store, names, None, bar.update)
    neighbours = nearest_images(vectors, max(command.at))
    lines = [f"{len(names)} images, {sum(map(bool, errors))} could not be read"]
    for path, truth in truths.items():
        parts = []
        for count in command.at:
            images, pairs = recall(neighbours, truth, count)
            parts.append(f"recall@{count} {images:.1%} (pairs {pairs:.1%})".replace("%", " %"))
        asked = len({image for pair in truth for image in pair})
        lines.append(f"{path}: {len(truth)} true pairs of {asked} images: {', '.join(parts)}")
    return "\n".join(lines)


def _truth(path: Path, images: Path, names: Sequence[str]) -> set[tuple[int, int]]:
    """The pairs of a list as numbers of images, the smaller first."""
    from matching.pair_lists import listed

    number = {(images / name).resolve(): n for n, name in enumerate(names)}
    found = listed(path)
    truth = set()
    for place in range(len(found)):
        files = [(path.parent / name).resolve() for name in found.pair(place)]
        missing = next((file for file in files if file not in number), None)
        if missing is not None:
            raise ValueError(f"{path}: wanted images below {images}, got {missing}")
        first, second = sorted(number[file] for file in files)
        truth.add((first, second))
    return truth
