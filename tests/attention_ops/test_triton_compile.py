"""Every Triton kernel through the real compiler and assembler, which need no GPU."""

import os

import pytest

from attention_ops import triton_backend

pytestmark = [
    pytest.mark.skipif(
        triton_backend.LOAD_ERROR is not None, reason=f"Triton: {triton_backend.LOAD_ERROR}"
    ),
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing"
    ),
    pytest.mark.skipif(
        "QUADVIEW_BACKEND" in os.environ, reason="the same whatever backend is forced"
    ),
]
MAX_SPILL_BYTES = 16  # four registers of a thread
# One of each kernel; together all dtypes and architectures. `python -m
# attention_ops.triton_kernels.aot` prints the table of all.
CHOSEN = [
    ("fine_forward F4 D32 K16 top8 A", "fp16", 90),
    ("fine_backward F4 D32 K16 top8 A", "bf16", 80),
    ("fine_backward_by_key F4 D32 K16 top8 A", "fp32", 100),
    ("coarse_forward L1296 D32 top16 A", "fp16", 100),
    ("coarse_backward L1296 D32 top16 A", "fp32", 90),
    ("coarse_backward_by_key L1296 D32 top16 A", "bf16", 80),
    ("chosen_bits", "fp32", 90),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype", "arch"), CHOSEN)
def test_kernel_compiles_and_spills_next_to_no_registers(name, dtype, arch):
    aot = pytest.importorskip("attention_ops.triton_kernels.aot")
    case = next(case for case in aot.all_cases(aot.DTYPES[dtype]) if case.name == name)
    usage = aot.usage(aot.compile_case(case, dtype, arch))
    assert usage.spill_bytes <= MAX_SPILL_BYTES
    assert 0 < usage.registers <= 255
    assert usage.shared_bytes <= 48 << 10


def test_every_kernel_of_the_backend_is_compiled():
    aot = pytest.importorskip("attention_ops.triton_kernels.aot")
    kernels = {case.name.split()[0] for case in aot.all_cases(4)}
    assert kernels == {name.split()[0] for name, _, _ in CHOSEN}
