import sys
import types

import pytest

from attention_ops.__main__ import main


def test_command_prints_every_backend_and_what_is_used(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["reference", "portable", "native"]
    assert sum("(in use)" in line for line in lines) == 1


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
