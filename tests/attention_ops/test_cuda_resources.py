"""What nvcc makes of the CUDA kernels, where it is installed; a GPU is not needed."""

import subprocess

import pytest
import torch

from attention_ops import cuda_build, cuda_call, cuda_resources
from tests.attention_ops.cuda_emulation import once

pytestmark = once

REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z8run_bodyI12FineBackwardI6__halfLi32ELi4EEEv8CudaCallll' for 'sm_90'
ptxas info    : Function properties for _Z8run_bodyI12FineBackwardI6__halfLi32ELi4EEEv8CudaCallll
    8 bytes stack frame, 16 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 79 registers, used 0 barriers
ptxas info    : Compiling entry function '_Z8run_bodyI10CoarseKeysIfLi128EEEv8CudaCallll' for 'sm_120'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 109 registers, used 1 barriers
"""


def test_a_report_of_ptxas_is_read():
    assert list(cuda_resources.read_report(REPORT)) == [
        cuda_resources.Resources("FineBackward", "float16", 32, 4, "90", 79, 8, 20),
        cuda_resources.Resources("CoarseKeys", "float32", 128, 1, "120", 109, 0, 0),
    ]


def test_the_worst_of_all_dtypes_and_fan_outs_makes_a_table():
    rows = [
        cuda_resources.Resources("FineGather", "float16", 32, 4, "90", 79, 8, 20),
        cuda_resources.Resources("FineGather", "float32", 32, 2, "90", 81, 0, 0),
        cuda_resources.Resources("FineGather", "float32", 32, 2, "120", 40, 0, 0),
        cuda_resources.Resources("CoarseKeys", "float32", 16, 1, "90", 109, 0, 0),
    ]
    assert list(cuda_resources.worst_table(rows)) == [
        "| kernel | D | sm_90 | sm_120 |",
        "|---|---|---|---|",
        "| CoarseKeys | 16 | 109 / 0 | not compiled |",
        "| FineGather | 32 | 81 / 20 | 40 / 0 |",
    ]


def test_without_nvcc_the_command_says_so(monkeypatch, capsys):
    monkeypatch.setenv("NVCC", "no-such-compiler")
    assert cuda_resources.main([]) == 2
    assert capsys.readouterr().err == "no nvcc found; install the CUDA toolkit, or set NVCC\n"


@pytest.fixture
def nvcc():
    """A compiler that knows the architecture that is asked for here."""
    nvcc = cuda_build.find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc")
    if "sm_90" not in subprocess.check_output([nvcc, "--list-gpu-code"], text=True):
        pytest.skip("this nvcc does not know sm_90")
    return nvcc


# Registers that a thread of each kernel may take: what leaves room for as many warps as hide the
# latency of memory (65536 registers: 128 are four blocks of four warps, 80 are six, 64 are eight).
ALLOWED = {
    "FineForward": 64,
    "FineBackward": 96,
    "FineGather": 64,
    "CoarseForward": 64,
    "CoarseQueries": 128,
    "CoarseKeys": 128,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "dtype",
    ["float16", *(pytest.param(x, marks=pytest.mark.long) for x in ("float32", "bfloat16"))],
)
def test_no_kernel_spills_and_all_leave_room_for_warps(nvcc, tmp_path, dtype):
    rows = cuda_resources.compile_and_read(nvcc, tmp_path, ("90",), 32, (dtype,))
    assert {(row.kernel, row.fan_out) for row in rows} == {
        *((name, fan) for name in ("FineForward", "FineBackward", "FineGather") for fan in (2, 4)),
        *((name, 1) for name in ("CoarseForward", "CoarseQueries", "CoarseKeys")),
    }
    assert {row.dtype for row in rows} == {dtype}
    for row in rows:
        assert row.spill_bytes == row.stack_bytes == 0, row
        assert row.registers <= ALLOWED[row.kernel], row


@pytest.mark.slow
@pytest.mark.long
def test_the_library_loads_without_a_gpu_and_refuses_to_launch_in_one_line(nvcc, tmp_path):
    cuda_resources.compile_and_read(nvcc, tmp_path, ("90",), 32, tuple(cuda_build.TYPES))
    commands = cuda_build.compile_commands(nvcc, tmp_path, ("90",))
    subprocess.run(commands[tmp_path / "library.o"], check=True)
    path = tmp_path / cuda_build.LIBRARY
    subprocess.run([*cuda_build.linker(nvcc), "-o", path, *commands], check=True)
    library = cuda_call.open_library(path)
    assert cuda_build.is_current(path)
    assert library.qvc_runtime_version() >= 12000
    if torch.cuda.is_available() or library.qvc_driver_version():
        pytest.skip("there is a driver here")
    query = torch.ones(1, 1, 2, 32)
    call = cuda_call.make_call((1, 1, 2, 2, 1, 32, 0, 1), query, 1.0, "B")
    with pytest.raises(RuntimeError, match=r"coarse_forward could not be launched") as caught:
        cuda_call.launch(library, cuda_call.Kernel.COARSE_FORWARD, call)
    assert "\n" not in str(caught.value)
    assert "driver" in str(caught.value)
