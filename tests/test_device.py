"""Networks and ops off the CPU: on a pretended device, in a process of its own.

A device that torch does not know, once made known, changes what torch.compile and opcheck do in the
whole process.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CASES = ("tests/matching/device_cases.py", "tests/stereo/device_cases.py")


@pytest.mark.slow
@pytest.mark.skipif("QUADVIEW_BACKEND" in os.environ, reason="the same whatever backend is forced")
def test_ops_and_networks_keep_to_their_device():
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CASES],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
