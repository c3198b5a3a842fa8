"""Everything that is to be known of a GPU, in one run: `python -m eval.bench_gpu`, ten minutes.

Parity of every kernel with float64, times of the ops against the official formulation, of whole
attention modules against full and linear attention, and of whole networks; a table on the screen
and rows in a JSON file. A run that is stopped, or out of its minutes, goes on where it was.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from data_scripts.atomic import writable, write_text
from data_scripts.command_line import run_command
from eval.environment import environment
from eval.gpu_networks import module_jobs, network_jobs
from eval.gpu_ops import Bench, Job, Row, check_jobs, coarse_jobs, fine_jobs
from eval.gpu_timing import Call, ceilings, peak_bytes, timing

SECTIONS = ("ceilings", "check", "fine", "coarse", "module", "networks", "sanitizer")
SANITIZER_SECONDS = 180


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the sections; 0 when all kernels agree, 1 when one does not, 2 without a GPU."""
    args = parse_args(argv)
    return run_command("error", lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Measures what is not measured yet and prints the tables; 1 when a kernel does not agree.

    Raises:
        RuntimeError: there is no CUDA device.
        ValueError: the file of rows is not ours, or cannot be written.
    """
    if not args.dry_run and not torch.cuda.is_available():
        raise RuntimeError(
            f"a CUDA device is wanted, torch {torch.__version__} sees none; "
            "run it where one is, or add --dry-run"
        )
    out = writable(args.out, (".json",))
    found = {} if args.fresh else _read(out)
    bench = Bench("cpu" if args.dry_run else "cuda", args.dry_run, 2 if args.dry_run else 20)
    stop = time.monotonic() + 60 * args.minutes
    found["environment"] = environment()
    left = 0
    for section in args.only or SECTIONS:
        rows = found.setdefault("rows", {}).setdefault(section, {})
        timed = _timer(bench, found["rows"].get("ceilings", {}).get("ceilings", {}))
        jobs = [(n, job) for n, job in _jobs(section, bench, timed) if not _is_done(rows.get(n))]
        for name, job in tqdm(jobs, desc=section, leave=False, disable=None):
            if time.monotonic() > stop:
                left += 1
                continue
            rows[name] = _attempt(job)
            _write(out, found)
        _say(_table(section, rows))
    if left:
        _say(f"{left} rows are left after {args.minutes} minutes: run it again, it goes on")
    _say(f"rows: {out}")
    wrong = [row for row in found["rows"].get("check", {}).values() if not row.get("agrees")]
    return 1 if wrong else 0


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m eval.bench_gpu", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections")
    parser.add_argument("--out", default="gpu.json", help="JSON file of all rows")
    parser.add_argument("--fresh", action="store_true", help="do not go on from the file")
    parser.add_argument("--minutes", type=float, default=9.0, help="start nothing after so many")
    parser.add_argument("--dry-run", action="store_true", help="every path on the CPU, tiny sizes")
    return parser.parse_args(argv)


def _jobs(section: str, bench: Bench, timed: Callable[..., Row]) -> Iterator[Job]:
    if section == "ceilings":
        yield "ceilings", lambda: dict(ceilings(bench.device, tiny=bench.tiny))
    elif section == "check":
        yield from check_jobs(bench)
    elif section == "sanitizer":
        yield "memcheck of `python -m attention_ops`", lambda: _sanitizer(bench)
    else:
        makers = {
            "fine": fine_jobs,
            "coarse": coarse_jobs,
            "module": module_jobs,
            "networks": network_jobs,
        }
        yield from makers[section](bench, timed)


def _is_done(row: Row | None) -> bool:
    return row is not None and "failed" not in row


def _timer(bench: Bench, best: dict[str, float]) -> Callable[..., Row]:
    """Times a call; with its FLOPs and bytes also says which share of the measured ceilings it is."""

    def timed(
        call: Call,
        *,
        flops: int = 0,
        moved: int = 0,
        dtype: str = "float32",
        with_peak: bool = False,
    ) -> Row:
        found = timing(call, bench.device, bench.turns)
        row: Row = {"eager_ms": found.eager_ms, "graph_ms": found.graph_ms, "spread": found.spread}
        if flops and best:
            floor_ms = 1e3 * max(flops / best[dtype], moved / best["bytes_per_s"])
            row |= {"floor_ms": floor_ms, "roofline": floor_ms / (found.graph_ms or found.eager_ms)}
        if with_peak:
            row["peak_bytes"] = peak_bytes(call, bench.device)
        return row

    return timed


def _sanitizer(bench: Bench) -> Row:
    """compute-sanitizer over the parity check of all backends; what it says in the last line."""
    tool = shutil.which("compute-sanitizer")
    if tool is None or bench.tiny:
        return {"skipped": "compute-sanitizer is not on the PATH" if tool is None else "dry run"}
    command = [tool, "--error-exitcode", "9", sys.executable, "-m", "attention_ops"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=SANITIZER_SECONDS
    )
    return {"exit_code": done.returncode, "said": (done.stdout + done.stderr)[-2000:]}


def _attempt(job: Callable[[], Row]) -> Row:
    """What the job gives; a kernel that breaks, or too little memory, costs its own row only."""
    try:
        return job()
    except Exception as error:  # noqa: BLE001  whatever a compiler or driver says is the row
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _read(path: Path) -> dict[str, Any]:
    """Rows of an earlier run.

    Raises:
        ValueError: the file holds something else.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: wanted rows of an earlier run, got no JSON ({error}); use --fresh"
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("rows"), dict):
        raise ValueError(f"{path}: wanted rows of an earlier run, got other JSON; use --fresh")
    return found


def _write(path: Path, found: dict[str, Any]) -> None:
    write_text(path, json.dumps(found, indent=1))


def _table(section: str, rows: dict[str, Row]) -> str:
    lines = [f"\n{section}"]
    for name, row in rows.items():
        values = [f"{key} {_figure(key, value)}" for key, value in row.items() if key not in name]
        lines.append(f"  {name:60s} {'  '.join(values)}")
    return "\n".join(lines)


def _figure(key: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if key == "peak_bytes":
        return f"{value / 1e6:.0f} MB"
    return f"{value:.3g}"


def _say(line: str) -> None:
    """Prints at once: a run takes minutes."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    raise SystemExit(main())
