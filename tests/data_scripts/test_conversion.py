import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_scripts import conversion, schema
from data_scripts.conversion import Settings, convert
from data_scripts.dataset import open_dataset
from tests.data_scripts.dataset_files import draw_image, draw_plan

ROOT = Path(__file__).parents[2]
SMALL = Settings(shard_images=2)
# A conversion that stops for ever at call number CALLS of a function, and says so in a file.
HANG = """
import sys, time
from pathlib import Path
from data_scripts import conversion, shard_files
from tests.data_scripts.dataset_files import draw_plan

home, name, calls = getattr, sys.argv[2], int(sys.argv[3])
module = shard_files if hasattr(shard_files, name) else conversion
original, seen = getattr(module, name), []

def hang(*args, **kwargs):
    seen.append(1)
    if len(seen) == calls:
        Path(sys.argv[1], "reached").touch()
        time.sleep(600)
    return original(*args, **kwargs)

setattr(module, name, hang)
folder = Path(sys.argv[1])
conversion.convert(draw_plan(folder, 6), folder / "set.h5", conversion.Settings(shard_images=2))
"""


def contents(path):
    with open_dataset(path) as data:
        images = [(image.name, image.encoded(), image.depth().tobytes()) for image in data.images()]
        return images, [(pair.name, pair.T_0to1.tobytes(), pair.overlap) for pair in data]


def run_until(folder, name, calls):
    """Starts a conversion of six images and kills it where it calls `name` for the nth time."""
    words = [sys.executable, "-c", HANG, str(folder), name, str(calls)]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (folder / "reached").exists():
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize(
    ("name", "calls", "resumed"),
    [("decode_image", 4, 2), ("_write_index", 1, 6), ("_write_pairs", 1, 6), ("_tidy", 1, 6)],
    ids=["inside a file of records", "before the index", "inside the index", "after the index"],
)
def test_a_killed_conversion_goes_on_where_it_was(tmp_path, name, calls, resumed):
    run_until(tmp_path, name, calls)
    stale = list(tmp_path.rglob(".*.h5"))
    assert bool(stale) == (name in ("decode_image", "_write_pairs"))
    plan = draw_plan_again(tmp_path)
    done = convert(plan, tmp_path / "set.h5", SMALL)
    assert (done.images, done.pairs, done.resumed) == (6, 5, resumed)
    assert not list(tmp_path.rglob(".*.h5"))
    convert(plan, tmp_path / "whole.h5", SMALL)
    assert contents(tmp_path / "set.h5") == contents(tmp_path / "whole.h5")


def draw_plan_again(folder):
    """The plan of six images over the files that are there: drawing them anew would change their times."""
    times = {path: path.stat() for path in folder.glob("*.png")}
    plan = draw_plan(folder, 6)
    for path, state in times.items():
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    return plan


def test_worker_processes_write_what_one_process_writes(tmp_path):
    plan = draw_plan(tmp_path, 5)
    convert(plan, tmp_path / "one.h5", SMALL)
    convert(plan, tmp_path / "two.h5", replace(SMALL, workers=2))
    assert contents(tmp_path / "one.h5") == contents(tmp_path / "two.h5")


def test_a_small_set_is_one_file_and_a_large_one_has_shards_beside_it(tmp_path):
    plan = draw_plan(tmp_path)
    convert(plan, tmp_path / "small.h5")
    assert not (tmp_path / "small.shards").exists()
    convert(plan, tmp_path / "large.h5", SMALL)
    names = sorted(path.name for path in (tmp_path / "large.shards").iterdir())
    assert names == ["000000.h5", "000001.h5"]


def test_a_finished_conversion_is_left_as_it_is(tmp_path):
    plan = draw_plan(tmp_path)
    convert(plan, tmp_path / "set.h5", SMALL)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    assert convert(plan, tmp_path / "set.h5", SMALL).resumed == 4
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")} == before


def test_only_the_shard_of_a_changed_file_is_written_again(tmp_path):
    plan = draw_plan(tmp_path)
    convert(plan, tmp_path / "set.h5", SMALL)
    draw_image(tmp_path / "3.png", seed=99)
    with pytest.raises(ValueError, match="--overwrite"):
        convert(plan, tmp_path / "set.h5", SMALL)
    done = convert(plan, tmp_path / "set.h5", replace(SMALL, overwrite=True))
    assert done.resumed == 2
    with open_dataset(tmp_path / "set.h5") as data:
        assert data.image(3).encoded() == (tmp_path / "3.png").read_bytes()


def test_bad_files_are_named_and_nothing_is_left_half_done(tmp_path):
    plan = draw_plan(tmp_path)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:-20])
    (tmp_path / "depth3.png").unlink()
    with pytest.raises(ValueError, match=r"2 sources.*1\.png.*3\.png.*--skip-bad"):
        convert(plan, tmp_path / "set.h5", SMALL)
    assert not (tmp_path / "set.h5").exists()


@pytest.mark.parametrize("shard_images", [2, 256])
def test_bad_files_may_be_left_out_with_their_pairs(tmp_path, shard_images):
    plan = draw_plan(tmp_path, 5)
    (tmp_path / "1.png").write_bytes(b"no picture")
    settings = Settings(shard_images=shard_images, skip_bad=True)
    assert convert(plan, tmp_path / "set.h5", settings).skipped == 1
    with open_dataset(tmp_path / "set.h5") as data:
        assert [image.name for image in data.images()] == ["0.png", "2.png", "3.png", "4.png"]
        assert [pair.name for pair in data] == ["2--3", "3--4"]
        assert data[1].image1.encoded() == (tmp_path / "4.png").read_bytes()
        assert "1.png" in data.skipped[0]


def test_a_map_of_another_size_than_its_image_is_refused(tmp_path):
    plan = draw_plan(tmp_path)
    source = plan.images[0]
    wrong = replace(source.maps[0], name="disparity")
    draw_image(tmp_path / "0.png", 0, size=(10, 10))
    images = [replace(source, maps=(wrong,)), *plan.images[1:]]
    with pytest.raises(ValueError, match=r"disparity of .*0.png must be of its size \(10, 10\)"):
        convert(replace(plan, images=images), tmp_path / "set.h5")


def test_intrinsics_for_another_size_are_scaled_to_the_file(tmp_path):
    plan = draw_plan(tmp_path)
    images = [replace(image, K_size=(12, 64)) for image in plan.images]
    convert(replace(plan, images=images), tmp_path / "set.h5")
    with open_dataset(tmp_path / "set.h5") as data:
        # 24 x 32 against 12 x 64: x halves, y doubles
        wanted = [[250, 0, 7.75], [0, 1000, 23], [0, 0, 1]]
        np.testing.assert_allclose(data.image(0).K, wanted)


def test_no_pairs_and_no_place_to_write_are_told(tmp_path):
    plan = draw_plan(tmp_path)
    with pytest.raises(ValueError, match="at least one pair"):
        convert(replace(plan, pairs=plan.pairs[:0]), tmp_path / "set.h5")
    with pytest.raises(ValueError, match=r"ends in \.h5"):
        convert(plan, tmp_path / "set.json")
    with pytest.raises(FileNotFoundError, match="no folder"):
        convert(plan, tmp_path / "none" / "set.h5")


def test_the_tables_lie_in_one_piece(tmp_path):
    convert(draw_plan(tmp_path), tmp_path / "set.h5", SMALL)
    with h5py.File(tmp_path / "set.h5") as file:
        assert file[schema.IMAGES].chunks is None
        assert file[schema.PAIRS].chunks is None


def test_temporary_files_of_running_processes_are_left_alone(tmp_path):
    running = tmp_path / f".000000.{os.getpid()}.h5"
    gone = tmp_path / ".000000.99999999.h5"  # above the largest process number of Linux
    for path in (running, gone):
        path.touch()
    conversion._remove_stale([running, gone])
    assert running.exists()
    assert not gone.exists()
