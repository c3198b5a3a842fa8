import sys
import types

import pytest
import torch

from attention_ops import chunked, parity
from attention_ops.__main__ import main
from attention_ops.backends import NAMES, backends


def test_command_prints_every_backend_and_every_choice(capsys):
    assert main(["--no-check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(NAMES)]] == list(NAMES)
    assert [" ".join(line.split()[:3]) for line in lines[len(NAMES) :]] == [
        "float32 on cpu:",
        "bfloat16 on cpu:",
        "float32 on cuda:",
        "bfloat16 on cuda:",
    ]


def test_command_checks_every_ready_backend(capsys):
    assert main([]) == 0
    checked = [
        line.split()[:2] for line in capsys.readouterr().out.splitlines() if "agrees" in line
    ]
    ready = [name for name, state in backends().items() if state == "ready" and name != "reference"]
    assert checked == [[name, dtype] for name in ready for dtype in ("float32", "bfloat16")]


def test_a_backend_that_disagrees_is_named_and_gives_exit_code_1(capsys, monkeypatch):
    right = chunked.fine_forward

    def wrong(*inputs):
        message, *rest = right(*inputs)
        return 1.01 * message, *rest

    monkeypatch.setattr(chunked, "fine_forward", wrong)
    assert main([]) == 1
    out = capsys.readouterr().out
    wrong_lines = [line for line in out.splitlines() if "DISAGREES" in line]
    assert [line.split()[:2] for line in wrong_lines] == [["portable", "float32"]]
    assert "allowed 1e-04" in wrong_lines[0]


def test_a_backend_that_breaks_is_named_in_one_line(capsys, monkeypatch):
    def broken(*_inputs):
        raise ValueError("no\nluck")

    monkeypatch.setattr(chunked, "coarse_forward", broken)
    assert main([]) == 1
    assert "portable   float32  FAILS: no luck\n" in capsys.readouterr().out


def test_a_nan_counts_as_the_largest_error(monkeypatch):
    right = chunked.coarse_forward

    def wrong(*inputs):
        message, *rest = right(*inputs)
        return message * torch.nan, *rest

    monkeypatch.setattr(chunked, "coarse_forward", wrong)
    _, output, error = next(parity.worst_errors("portable", torch.float32, "cpu"))
    assert output == "message"
    assert error != error


@pytest.mark.parametrize(
    ("words", "wanted"), [(["build"], []), (["build", "--force"], ["--force"])]
)
def test_build_hands_over_to_the_builder_and_its_exit_code(words, wanted, monkeypatch):
    calls = []
    fake = types.ModuleType("attention_ops.build")
    fake.main = lambda argv: calls.append(argv) or 3
    monkeypatch.setitem(sys.modules, "attention_ops.build", fake)
    assert main(words) == 3
    assert calls == [wanted]


def test_help_names_the_build_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "build" in capsys.readouterr().out
