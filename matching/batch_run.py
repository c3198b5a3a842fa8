"""Matches a list of pairs into shards, so that it can be stopped at any moment and goes on where it was.

The folder of a run:

    plan.json             what is matched and how; a run with another plan is refused
    shards/NNNNNNNN.h5    so many pairs each, see `matching.shards`
    failures.csv          images that could not be read, and pairs that failed
    summary.json          counts, taken from the shards when all are there
    descriptors/          with --retrieve: one vector per image
    features/             what memory had no room for; removed at the end

Every file appears whole, by a rename, and depends only on the plan and the images: a run that was killed
and resumed ends with the same bytes as one that was not.
"""

import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from data_scripts.attempts import FailedPair
from data_scripts.long_run import ADVICE, write_csv, write_json
from matching.feature_store import FeatureStore
from matching.matches import Matches
from matching.network import ImageFeatures
from matching.options import MatchOptions
from matching.pair_lists import PairList
from matching.predictor import MatchPredictor
from matching.shards import PairResult, read_results, read_shard, shard_path, write_shard

FORMAT = 1  # raise when shards of an older run would not fit those of a newer one


@dataclass(frozen=True)
class Summary:
    """Counts of a finished run, from what its shards hold."""

    images: int
    images_failed: int  # could not be read
    pairs: int
    pairs_with_matches: int
    pairs_without_matches: int
    pairs_failed: int  # an image could not be read, or the pair could not be matched
    matches: int


@dataclass(frozen=True)
class Run:
    """A list of pairs, how it is cut into shards, and where these go."""

    out: Path
    pairs: PairList
    shard_pairs: int  # pairs of a shard

    @property
    def shards(self) -> int:
        """How many."""
        return -(-len(self.pairs) // self.shard_pairs)

    def numbers(self, shard: int) -> range:
        """Numbers of the pairs of a shard."""
        start = shard * self.shard_pairs
        return range(start, min(start + self.shard_pairs, len(self.pairs)))

    def missing(self) -> list[int]:
        """Shards that are still to be made."""
        return [shard for shard in range(self.shards) if not shard_path(self.out, shard).exists()]


def forget_failures(run: Run) -> int:
    """Removes the shards that hold a failure, so that their pairs are tried again; how many."""
    bad = [
        path
        for shard in range(run.shards)
        if (path := shard_path(run.out, shard)).exists()
        and any(result.why for result in read_shard(path))
    ]
    for path in bad:
        path.unlink()
    return len(bad)


def match_missing(
    run: Run,
    predictor: MatchPredictor,
    store: FeatureStore,
    options: MatchOptions,
    batch_size: int | None,
    done: Callable[[int], None],
) -> None:
    """Makes every shard that is not there yet; `done` is told after each pair, by 1.

    Pairs run together only with pairs of their own shard, so an interruption changes no batch.
    """
    for shard in run.missing():
        match_shard(run, shard, predictor, store, options, batch_size, done)


def match_shard(
    run: Run,
    shard: int,
    predictor: MatchPredictor,
    store: FeatureStore,
    options: MatchOptions,
    batch_size: int | None,
    done: Callable[[int], None] | None = None,
) -> None:
    """Makes one shard, whether it is there or not; arguments as `match_missing`."""
    results = []
    for result in _match_shard(run, shard, predictor, store, options, batch_size):
        results.append(result)
        if done is not None:
            done(1)
    results.sort(key=lambda numbered: numbered[0])
    write_shard(shard_path(run.out, shard), [result for _, result in results])


def _match_shard(
    run: Run,
    shard: int,
    predictor: MatchPredictor,
    store: FeatureStore,
    options: MatchOptions,
    batch_size: int | None,
) -> Iterator[tuple[int, PairResult]]:
    """Results of a shard with the numbers of their pairs; those with bad images come last."""
    asked: deque[tuple[int, ImageFeatures, ImageFeatures]] = deque()  # on their way, in order
    failed: list[tuple[int, PairResult]] = []

    def sides() -> Iterator[tuple[ImageFeatures, ImageFeatures]]:
        for number in run.numbers(shard):
            names = run.pairs.pair(number)
            side0, side1 = store.get(names[0]), store.get(names[1])
            if isinstance(side0, FailedPair) or isinstance(side1, FailedPair):
                errors = (s.error if isinstance(s, FailedPair) else "" for s in (side0, side1))
                failed.append((number, PairResult.failed(names, *errors)))
                continue
            asked.append((number, side0, side1))
            yield side0, side1

    matched = predictor.match_many(
        sides(), batch_size=batch_size, on_error="record", **asdict(options)
    )
    for result in matched:
        number, side0, side1 = asked.popleft()
        yield number, _result(run.pairs.pair(number), side0, side1, result)
    yield from failed


def _result(
    names: tuple[str, str], side0: ImageFeatures, side1: ImageFeatures, found: Matches | FailedPair
) -> PairResult:
    if isinstance(found, FailedPair):
        return PairResult.failed(names, error=found.error)
    return PairResult(*names, side0.size, side1.size, found)


def finish(run: Run, bad_images: Mapping[str, str]) -> Summary:
    """Reads all shards again, checks that they hold every pair once, and writes the counts.

    Args:
        run: all of whose shards are made.
        bad_images: images without a pair that could not be read, and why.

    Raises:
        ValueError: a shard is broken, or of other pairs.
    """
    counts: Counter[str] = Counter()
    for number, result in enumerate(read_results(run.out)):
        if number >= len(run.pairs) or (result.image0, result.image1) != run.pairs.pair(number):
            raise ValueError(
                f"{run.out}: pair {number} in the shards is not that of the plan; {ADVICE}"
            )
        counts["seen"] += 1
        counts["matches"] += len(result.matches)
        counts["with"] += bool(len(result.matches))
        counts["failed"] += bool(result.why)
    if counts["seen"] != len(run.pairs):
        raise ValueError(
            f"{run.out}: wanted {len(run.pairs)} pairs in the shards, got {counts['seen']}; {ADVICE}"
        )
    summary = Summary(
        images=len(run.pairs.names),
        images_failed=write_failures(run.out, bad_images),
        pairs=counts["seen"],
        pairs_with_matches=counts["with"],
        pairs_without_matches=counts["seen"] - counts["with"] - counts["failed"],
        pairs_failed=counts["failed"],
        matches=counts["matches"],
    )
    write_json(run.out / "summary.json", asdict(summary))
    shutil.rmtree(run.out / "features", ignore_errors=True)
    return summary


def write_failures(out: Path, bad_images: Mapping[str, str]) -> int:
    """Writes failures.csv from the shards that are there; the number of bad images.

    An image that could not be read has one row, with image1 empty, and its pairs have none; then comes
    every pair that failed though both images could be read.
    """
    images, pairs = dict(bad_images), []
    shards = sorted((out / "shards").glob("[0-9]*.h5"))
    for result in (result for path in shards for result in read_shard(path)):
        images |= {
            name: error
            for name, error in ((result.image0, result.error0), (result.image1, result.error1))
            if error
        }
        if result.error:
            pairs.append((result.image0, result.image1, result.error))
    rows = [*((name, "", images[name]) for name in sorted(images)), *pairs]
    write_csv(out / "failures.csv", ("image0", "image1", "error"), rows)
    return len(images)
