"""Carrying out a plan: files of records in worker processes, then the index over them.

Each file of records and the index are written whole or not at all. A conversion that was stopped, at
any moment and by any signal, goes on with the files that are missing when the same command is given
again; what it then makes is the same. Memory does not grow with the set beyond its tables.
"""

import glob
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from data_scripts import schema
from data_scripts.atomic import replacing, writable
from data_scripts.plan import Plan, plan_digest
from data_scripts.processes import run_in_processes
from data_scripts.shard_files import ShardJob, ShardResult, jobs_digest, write_shard

SHARD_IMAGES = 256  # records in a file; what is lost at most when a conversion is stopped
SHOWN_BAD = 10  # bad sources that a message names
STALE = re.compile(r"^\..*\.(\d+)\.h5$")  # a file that `replacing` was writing, with its process


@dataclass(frozen=True)
class Settings:
    """How a plan is carried out."""

    workers: int = 1  # processes; 1: this one alone
    shard_images: int = SHARD_IMAGES
    skip_bad: bool = False  # leave out sources that cannot be converted, and their pairs
    overwrite: bool = False  # in the place of another conversion at the same path


@dataclass(frozen=True)
class Converted:
    """What a conversion has made."""

    path: Path
    images: int
    pairs: int
    skipped: int  # sources left out
    resumed: int  # images that an earlier run had converted


def convert(plan: Plan, out: Path, settings: Settings | None = None) -> Converted:
    """Writes the data set that `plan` describes, with its index at `out`.

    Raises:
        ValueError: `out` cannot be written or holds another conversion; sources are bad; a message
            names them.
    """
    settings = settings or Settings()
    out = writable(out, (".h5",)).absolute()
    if not plan.images or not len(plan.pairs):
        raise ValueError(
            f"{plan.info.dataset}: wanted at least one pair of images, got {len(plan.images)} images "
            f"and {len(plan.pairs)} pairs; check the folder of the raw data"
        )
    digests = [image.digest() for image in tqdm(plan.images, "look", leave=False)]
    plan = replace(plan, info=replace(plan.info, plan=plan_digest(plan, digests)))
    if (finished := _finished(out, plan, settings)) is not None:
        return finished
    folder = shard_folder(out)
    folder.mkdir(exist_ok=True)
    _remove_stale(folder.iterdir())
    _remove_stale(out.parent.glob(f".{glob.escape(out.stem[:100])}.*.h5"))
    jobs = list(_jobs(plan, folder, digests, settings))
    results = _run(jobs, settings.workers, len(plan.images))
    bad = [reason for result in results for reason in result.bad]
    if bad and not settings.skip_bad:
        raise ValueError(_bad_message(bad))
    _write_index(plan, out, jobs)
    _tidy(folder, jobs)
    resumed = sum(result.count for result in results if not result.written)
    return replace(_summary(out), resumed=resumed)


def shard_folder(out: Path) -> Path:
    """Where the files of records of the index at `out` lie, if there is more than one."""
    return out.with_suffix(".shards")


def _finished(out: Path, plan: Plan, settings: Settings) -> Converted | None:
    """What is at `out` if it is this plan carried out; clears the way for it otherwise."""
    if not out.exists():
        return None
    try:
        with h5py.File(out) as file:
            same = schema.read_info(file, out) == plan.info
            names = file[schema.SHARDS].asstr()[()]
            same = same and all((out.parent / str(name)).exists() for name in names)
            same = same and (settings.skip_bad or not len(file[schema.SKIPPED]))
    except (OSError, ValueError, KeyError):
        same = False
    if same:
        if list(names) == [""]:  # stopped between the index and the tidying
            shutil.rmtree(shard_folder(out), ignore_errors=True)
        found = _summary(out)
        return replace(found, resumed=found.images)
    if not settings.overwrite:
        raise ValueError(
            f"{out}: wanted no file, or this same conversion, got another one; name another --out, "
            "or give --overwrite"
        )
    out.unlink()
    return None


def _remove_stale(paths: Iterable[Path]) -> None:
    """Removes those of `paths` that processes which are gone were writing."""
    for path in paths:
        found = STALE.match(path.name)
        if found and not _runs(int(found[1])):
            path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    if os.name == "nt":  # where os.kill is no question; a file too many does no harm
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it runs, under another user
        return True
    return True


def _jobs(plan: Plan, folder: Path, digests: list[bytes], settings: Settings) -> Iterator[ShardJob]:
    name_bytes = max(len(image.name.encode()) for image in plan.images)
    options = plan.options
    for number, first in enumerate(range(0, len(plan.images), settings.shard_images)):
        sources = tuple(plan.images[first : first + settings.shard_images])
        yield ShardJob(
            path=folder / f"{number:06d}.h5",
            number=number,
            first=first,
            sources=sources,
            name_bytes=name_bytes,
            options=options,
            digest=jobs_digest(sources, digests[first : first + settings.shard_images]),
            skip_bad=settings.skip_bad,
        )


def _run(jobs: list[ShardJob], workers: int, count: int) -> list[ShardResult]:
    """Writes the files of `jobs`, with a bar that counts images; results in the order of the jobs."""
    with tqdm(total=count, desc="convert", unit="image") as bar:
        if workers <= 1 or len(jobs) == 1:
            return [write_shard(job, bar.update) for job in jobs]
        found = []
        for result in run_in_processes(write_shard, jobs, workers):
            bar.update(result.count)
            found.append(result)
    return sorted(found, key=lambda result: result.number)


def _bad_message(bad: list[str]) -> str:
    shown = "; ".join(bad[:SHOWN_BAD])
    more = f"; and {len(bad) - SHOWN_BAD} more" if len(bad) > SHOWN_BAD else ""
    return (
        f"{len(bad)} sources cannot be converted: {shown}{more}; mend them and run the same command "
        "again, or leave them out with --skip-bad"
    )


def _write_index(plan: Plan, out: Path, jobs: list[ShardJob]) -> None:
    """The index over the files of `jobs`; a single one becomes part of it."""
    with replacing(out) as temporary:
        if len(jobs) == 1:
            shutil.copyfile(jobs[0].path, temporary)
        with h5py.File(temporary, "a") as file:
            numbers = _collect_images(plan, file, jobs)
            _write_pairs(file, plan, numbers)
            names = [os.path.relpath(job.path, out.parent) for job in jobs]
            file[schema.SHARDS] = schema.strings([""] if len(jobs) == 1 else names)
            file[schema.GROUPS] = schema.strings(plan.groups)
            schema.write_info(file, plan.info)


def _collect_images(plan: Plan, file: h5py.File, jobs: list[ShardJob]) -> np.ndarray:
    """Copies the tables of all files into /images; the row of each image of the plan, -1 for none.

    The table is made in one piece, so that readers can seek in it.
    """
    numbers = np.full(len(plan.images), -1, np.int64)
    skipped: list[str] = []
    kept, table = 0, None
    for job in jobs:
        with h5py.File(job.path) as shard:
            rows = shard[schema.IMAGES][()]
            skipped += shard[schema.SKIPPED].asstr()[()].tolist()
        names = {source.name.encode(): job.first + n for n, source in enumerate(job.sources)}
        numbers[[names[name] for name in rows["name"].tolist()]] = np.arange(kept, kept + len(rows))
        if len(jobs) > 1:
            if table is None:
                table = file.create_dataset(schema.IMAGES, (_count(jobs),), rows.dtype)
            table[kept : kept + len(rows)] = rows
        kept += len(rows)
    if len(jobs) > 1:
        file[schema.SKIPPED] = schema.strings(skipped)
    return numbers


def _count(jobs: list[ShardJob]) -> int:
    """Images in the files of `jobs`."""
    total = 0
    for job in jobs:
        with h5py.File(job.path) as shard:
            total += len(shard[schema.IMAGES])
    return total


def _write_pairs(file: h5py.File, plan: Plan, numbers: np.ndarray) -> None:
    """The pairs both of whose images are there, under the rows of /images."""
    pairs = plan.pairs.copy()
    for name in ("image0", "image1"):
        pairs[name] = numbers[pairs[name]]
    file[schema.PAIRS] = pairs[(pairs["image0"] >= 0) & (pairs["image1"] >= 0)]


def _tidy(folder: Path, jobs: list[ShardJob]) -> None:
    """Removes files of records that the index does not name."""
    if len(jobs) == 1:
        shutil.rmtree(folder)
        return
    wanted = {job.path for job in jobs}
    for path in folder.glob("*.h5"):
        if path not in wanted:
            path.unlink()


def _summary(out: Path) -> Converted:
    with h5py.File(out) as file:
        return Converted(
            path=out,
            images=len(file[schema.IMAGES]),
            pairs=len(file[schema.PAIRS]),
            skipped=len(file[schema.SKIPPED]),
            resumed=0,
        )
