"""What README shows runs. Its commands and links are tested with those of all pages: test_guide, test_docs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]


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
