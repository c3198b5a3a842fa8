import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_scripts import schema
from data_scripts.__main__ import main
from data_scripts.dataset import open_dataset
from tests.data_scripts.dataset_files import draw_image
from tests.data_scripts.planners.test_hpatches import draw_sequence

ROOT = Path(__file__).parents[2]
COMMANDS = ["scannet", "megadepth", "hpatches", "sceneflow", "kitti", "middlebury", "eth3d"]
COMMANDS += ["scannet_sample", "pairs_from_depth", "turned_pairs", "check"]


@pytest.fixture
def raw(tmp_path):
    draw_sequence(tmp_path / "raw" / "v_wall")
    return tmp_path / "raw"


def test_a_set_is_converted_checked_and_told(raw, tmp_path, capsys):
    assert main(["hpatches", "--raw", str(raw), "--out", str(tmp_path / "set.h5")]) == 0
    said = capsys.readouterr()
    assert "6 images, 5 pairs" in said.out
    assert "licence: MIT" in said.out
    assert "every record is sound" in said.out
    assert "115 of 116 sequences missing; HPatches comes from https://" in said.err
    with open_dataset(tmp_path / "set.h5") as data:
        assert len(data) == 5


def test_check_names_the_bad_records_and_exits_1(raw, tmp_path, capsys):
    out = tmp_path / "set.h5"
    main(["hpatches", "--raw", str(raw), "--out", str(out), "--no-check"])
    assert "sound" not in capsys.readouterr().out
    assert main(["check", str(out)]) == 0
    with h5py.File(out, "a") as file:
        del file[f"{schema.record_name(3)}/{schema.IMAGE}"]
        rows = file[schema.PAIRS][()]
        rows["H_0to1"][1] = 0
        file[schema.PAIRS][...] = rows
    capsys.readouterr()
    assert main(["check", str(out)]) == 1
    said = capsys.readouterr().out
    assert "pair 1: wanted H_0to1 finite and invertible" in said
    assert "image 3" in said
    assert "2 faults" in said


def test_a_dry_run_writes_nothing(raw, tmp_path, capsys):
    assert main(["hpatches", "--raw", str(raw), "--out", str(tmp_path / "a.h5"), "--dry-run"]) == 0
    assert "6 images" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.h5"))


@pytest.mark.parametrize("name", ["scannet_sample", "scannet-sample"])
def test_names_are_taken_with_either_stroke(tmp_path, name, capsys):
    draw_image(tmp_path / "0.jpg", 0)
    numbers = [*np.eye(3).ravel(), *np.eye(3).ravel(), *np.eye(4).ravel()]
    line = " ".join(["0.jpg", "0.jpg", "0", "0", *map(str, numbers)])
    (tmp_path / "pairs_with_gt.txt").write_text(line)
    assert main([name, "--raw", str(tmp_path), "--out", str(tmp_path / "set.h5")]) == 0
    assert "1 images, 1 pairs" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["kitti", "--raw", "absent", "--out", "set.h5"],
        ["check", "absent.h5"],
        ["hpatches", "--raw", "{raw}", "--out", "{raw}/none/set.h5"],
        ["hpatches", "--raw", "{raw}", "--out", "set.txt"],
        ["hpatches", "--raw", "{raw}", "--out", "{raw}/set.h5", "--workers", "0"],
        ["pairs_from_depth", "--raw", "{raw}", "--out", "{raw}/set.csv"],
        ["sceneflow", "--raw", "{raw}", "--out", "{raw}/set.h5", "--leave-out", "absent.txt"],
    ],
    ids=lambda words: " ".join(words[:1] + words[-2:]),
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(raw, words, capsys):
    try:
        code = main([word.format(raw=raw) for word in words])
    except SystemExit as stop:  # of tyro
        code = stop.code
    assert code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if said.startswith("error:"):
        assert said.count("\n") == 1


def test_help_of_every_command_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from data_scripts.__main__ import main\n"
        f"for command in {COMMANDS}:\n"
        "    try:\n"
        "        main([command, '--help'])\n"
        "    except SystemExit as stop:\n"
        "        assert stop.code == 0, command\n"
        "heavy = {'torch', 'cv2', 'h5py', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for option in ("--raw", "--out", "--workers", "--skip-bad", "--render-pass", "--min-overlap"):
        assert option in done.stdout


def test_an_interruption_says_how_to_go_on(raw, tmp_path, monkeypatch, capsys):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("data_scripts.conversion.write_shard", stop)
    assert main(["hpatches", "--raw", str(raw), "--out", str(tmp_path / "set.h5")]) == 130
    assert "run the same command again" in capsys.readouterr().err
