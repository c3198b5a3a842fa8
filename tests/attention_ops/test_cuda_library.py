"""Loading the CUDA library: every reason for its absence is one line that says what to do."""

import pytest
import torch

from attention_ops import cuda_build, cuda_library
from tests.attention_ops.cuda_emulation import once

pytestmark = once


@pytest.fixture
def a_device(monkeypatch, tmp_path):
    """As if there were a CUDA device, and one place for a library."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    place = tmp_path / cuda_build.LIBRARY
    monkeypatch.setattr(cuda_library, "library_paths", lambda: (place,))
    return place


def test_without_a_device_the_reason_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    library, reason = cuda_library.load()
    assert library is None
    assert reason.startswith("no CUDA device (torch ")
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("nvcc", "reason"),
    [
        ("/bin/nvcc", "not built: run `python -m attention_ops build --cuda`"),
        (None, "no nvcc found"),
    ],
)
@pytest.mark.usefixtures("a_device")
def test_an_unbuilt_library_says_what_to_do(nvcc, reason, monkeypatch):
    monkeypatch.setattr(cuda_build, "find_nvcc", lambda: nvcc)
    assert reason in cuda_library.load()[1]


def test_a_library_of_other_sources_and_a_broken_one_leave_reasons(a_device):
    a_device.write_bytes(b"quadview cuda sources 0000000000000000")
    assert "built from other sources" in cuda_library.load()[1]
    a_device.write_bytes(f"quadview cuda sources {cuda_build.source_hash()}".encode())
    assert cuda_library.load()[1].startswith("load failed: ")


def test_a_library_for_a_newer_driver_is_refused(a_device, monkeypatch):
    class Library:
        qvc_driver_version = staticmethod(lambda: 12080)
        qvc_runtime_version = staticmethod(lambda: 13000)

    a_device.write_bytes(f"quadview cuda sources {cuda_build.source_hash()}".encode())
    monkeypatch.setattr(cuda_library, "open_library", lambda _: Library)
    reason = cuda_library.load()[1]
    assert "the driver knows CUDA 12.8 and the library needs 13.0" in reason
