import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    shlex.split(line, comments=True)
    for language, text in BLOCKS
    if language != "python"
    for line in text.splitlines()
]


def run(*words):
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_lines_of_python_for_matching_run():
    done = run("-c", PYTHON[0])
    assert done.returncode == 0, done.stderr
    count, *points = done.stdout.splitlines()
    assert int(count.split()[0]) > 100
    assert len(points) == 3


@pytest.mark.slow
def test_the_lines_of_python_for_stereo_run():
    done = run("-c", PYTHON[1])
    assert done.returncode == 0, done.stderr
    size, shares = done.stdout.splitlines()
    assert size.startswith("(500, 741)")
    assert "%" in shares


SUBCOMMANDS = {"align", "batch", "colmap", "convert", "cost", "export", "train"}


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted({w[2] for w in COMMANDS if w[:2] == ["python", "-m"]}))
def test_every_module_has_every_option_that_the_readme_gives_it(module):
    for words in (words for words in COMMANDS if words[:3] == ["python", "-m", module]):
        subcommand = list(itertools.takewhile(SUBCOMMANDS.__contains__, words[3:]))
        shown = run("-m", module, *subcommand, "--help")
        assert shown.returncode == 0, shown.stderr
        for option in (word for word in words[3:] if word.startswith("-")):
            assert option in shown.stdout, " ".join(words)


def test_every_make_target_of_the_readme_is_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    targets = [words[1] for words in COMMANDS if words[0] == "make"]
    assert targets
    assert all(f"\n{target}:" in makefile for target in targets)


def test_every_link_and_picture_of_the_readme_is_there():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
