import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import tyro

from data_scripts.commands import Command as DataCommand

TEXT = (Path(__file__).parents[2] / "docs/pipelines.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
LINES = [
    line
    for language, block in BLOCKS
    for line in block.splitlines()
    if not language and line.startswith("python -m ")
]
NUMBERS = {"FX": "900", "FY": "900", "CX": "500", "CY": "300"}


@pytest.mark.parametrize("line", LINES)
def test_every_command_of_the_page_is_understood(line, monkeypatch):
    words = [NUMBERS.get(word, word) for word in shlex.split(line)]
    package, name = words[2], words[3]
    if package == "data_scripts":
        assert tyro.cli(DataCommand, args=words[3:])
        return
    commands = import_module(f"{package}.__main__").COMMANDS
    assert import_module(commands[name]).parse(words[4:])


def test_every_subcommand_is_on_the_page():
    for package in ("matching", "stereo"):
        for name in import_module(f"{package}.__main__").COMMANDS:
            assert any(line.startswith(f"python -m {package} {name} ") for line in LINES), name
