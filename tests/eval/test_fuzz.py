import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval.fuzz import Limits, Tally, Worker, verdict
from eval.fuzz_damage import DAMAGES, MAX_GROWTH, damaged
from eval.fuzz_files import KINDS

PER_KIND = 6  # the command takes many more


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """A valid file of each kind and its bytes."""
    folder = tmp_path_factory.mktemp("fuzz")
    made = {}
    for number, kind in enumerate(KINDS):
        path = folder / f"kind{number}" / kind.name
        path.parent.mkdir()
        kind.make(path)
        made[kind.name] = path, kind.target(path).read_bytes()
    return made


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=PER_KIND, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_broken_files_are_read_or_refused_in_one_line(kind, seed, valid):
    path, content = valid[kind.name]
    broken = damaged(content, np.random.default_rng(seed))
    kind.target(path).write_bytes(broken)
    with np.errstate(all="ignore"):
        found = verdict(kind.read, path)
    kind.target(path).write_bytes(content)
    assert found in ("read", "refused"), found


DEEP = b"[" * 100_000
TOKENS = b"\x93NUMPY\x01\x00\x20\x00" + b"{'descr': '<f8', 'shape': (3,    "


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("points.npy", TOKENS),
        *((name, DEEP) for name in ("pairs.json", "poses.json", "truth.json", "homographies.json")),
    ],
)
def test_what_once_slipped_through_is_refused(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    assert verdict(next(kind.read for kind in KINDS if kind.name == name), path) == "refused"


def test_valid_files_are_read(valid):
    without_weights = ("matcher.safetensors", "stereo.safetensors")
    for kind in KINDS:
        path, _ = valid[kind.name]
        want = "refused" if kind.name in without_weights else "read"
        assert verdict(kind.read, path) == want, kind.name


@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_damage_is_the_same_for_the_same_seed_and_bounded(content, seed):
    one, two = (damaged(content, np.random.default_rng(seed)) for _ in range(2))
    assert one == two
    assert len(one) <= len(content) + 5 * MAX_GROWTH


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_no_damage_stumbles_over_an_empty_file(damage):
    for seed in range(5):
        damage(bytearray(), np.random.default_rng(seed))


def refuse(error):
    def read(path):
        raise error

    return read


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (ValueError("{}: no good"), "refused"),
        (FileNotFoundError("{} is not there"), "refused"),
        (ValueError("no good"), "not one line that names the file"),
        (ValueError("{}: two\nlines"), "not one line that names the file"),
        (KeyError("{}"), "KeyError"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), "UnicodeDecodeError"),
        (MemoryError("{}"), "asked for more memory"),
    ],
)
def test_a_verdict_asks_for_one_line_of_ours(tmp_path, error, found):
    path = tmp_path / "file"
    error.args = tuple(str(a).format(path) if isinstance(a, str) else a for a in error.args)
    assert verdict(refuse(error), path).startswith(found)


def test_memory_behind_a_refusal_is_a_fault(tmp_path):
    error = ValueError(str(tmp_path / "file"))
    error.__cause__ = MemoryError()
    assert verdict(refuse(error), tmp_path / "file").startswith("asked for more memory")


@pytest.mark.slow
def test_a_process_that_dies_is_a_fault_and_is_replaced(tmp_path):
    worker = Worker(tmp_path / "w", 0, Limits(seconds=60), tmp_path)
    try:
        worker.take(0)
        while (first := worker.outcome()) is None:
            worker.pipe.poll(0.2)
        worker.take(1)
        worker.process.kill()
        while (second := worker.outcome()) is None:
            worker.pipe.poll(0.2)
    finally:
        worker.stop()
    assert first.what in ("read", "refused")
    assert second.what.startswith("the process died") or second.what in ("read", "refused")
    assert Tally().cases == 0


@pytest.mark.slow
def test_the_command_leaves_nothing_behind(tmp_path):
    words = ["-m", "eval", "fuzz", "--cases", "1", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    assert "1 broken files" in done.stdout
    assert "leaked" not in done.stderr
