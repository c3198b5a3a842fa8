from typing import get_args

import pytest

from eval.__main__ import Matching, Stereo, main
from eval.benchmarks import BENCHMARKS
from eval.stereo_benchmarks import STEREO_BENCHMARKS
from tests.command_checks import assert_help_is_quick
from tests.shared_data import shared


def test_help_is_quick_because_nothing_heavy_is_imported():
    assert_help_is_quick("eval.__main__", "scannet-sample")


def test_the_command_knows_exactly_the_benchmarks_there_are():
    assert set(get_args(Matching)) == {"dev", *BENCHMARKS}
    assert set(get_args(Stereo)) == set(STEREO_BENCHMARKS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["graf", "--method", "sift", "--data", "nowhere"], "no such folder"),
        (["graf", "--method", "nothing"], "nothing: no such weights"),
        (["stereo", "--method", "sgbm", "--data", "nowhere"], "no such folder"),
        (["stereo", "--method", "nothing"], "nothing: no such weights"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(words, message, capsys, tmp_path):
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_sift_on_graf_ends_in_a_table_and_files(capsys, tmp_path):
    data = shared("data")
    assert main(["graf", "--method", "sift", "--data", str(data), "--out", str(tmp_path)]) == 0
    assert "MAGSAC 2 px" in capsys.readouterr().out
    assert (tmp_path / "graf/sift/results.json").is_file()
    assert "graf" in (tmp_path / "graf/sift/results.md").read_text()
