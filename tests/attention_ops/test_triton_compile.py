"""Every Triton kernel through the real compiler and assembler, which need no GPU."""

import itertools
import os
import re
from dataclasses import replace
from pathlib import Path

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
MAX_SPILL_BYTES = 32  # eight registers of a thread
# One of each kernel, those that need the most registers where they are taken in; together all dtypes
# and architectures. `python -m attention_ops.triton_kernels.aot` compiles all settings.
CHOSEN = [
    ("fine_forward F4 D32 K16 top8 A", "fp16", 90),
    ("fine_backward F4 D32 K16 top8 A", "bf16", 80),
    ("fine_backward_by_key F4 D128 K16 top8 A", "fp32", 100),
    ("coarse_forward L1296 D32 top16 A", "fp16", 100),
    ("coarse_forward L1296 D64 top16 A", "fp32", 90),
    ("coarse_backward D128 top16 A", "fp32", 90),
    ("coarse_backward_by_key D128 top16 A unmasked", "fp32", 80),
    ("chosen_bits", "fp32", 90),
    ("sample_forward D32", "bf16", 80),
    ("sample_backward D32", "fp32", 90),
    ("sample_backward lists D32", "fp16", 100),
    ("sum_lists D32", "bf16", 90),
]


@pytest.fixture
def aot():
    return pytest.importorskip("attention_ops.triton_kernels.aot")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype", "arch"), CHOSEN)
def test_kernel_compiles_and_spills_next_to_no_registers(aot, name, dtype, arch):
    case = next(case for case in aot.all_cases(aot.DTYPES[dtype]) if case.name == name)
    kernel = aot.compiled(aot.job(case, dtype, arch))
    usage = aot.usage(kernel)
    assert usage.spill_bytes <= MAX_SPILL_BYTES
    assert 0 < usage.registers <= 255
    assert usage.shared_bytes <= 99 << 10  # what a block can have on every device that is served
    assert usage.instructions > 100
    assert f".target sm_{arch}" in kernel.asm["ptx"]


def test_every_kernel_of_the_backends_is_compiled(aot):
    kernels = {case.name.split()[0] for case in aot.all_cases(4)}
    assert kernels == {name.split()[0] for name, _, _ in CHOSEN}
    written = set()
    for path in (Path(aot.__file__).parent).glob("*.py"):
        text = path.read_text()
        written |= set(re.findall(r"do_not_specialize=.*\]\)\ndef (\w+)", text))
    assert kernels == written


def test_cases_are_all_widths_fan_outs_variants_and_masks_once_each(aot):
    for size in (2, 4):
        names = [case.name for case in aot.all_cases(size)]
        assert len(names) == len(set(names))
        for D, F, end in itertools.product(
            (16, 32, 64, 128), (2, 4), ("A", "B", "A unmasked", "B unmasked")
        ):
            for kernel in ("fine_forward", "fine_backward", "fine_backward_by_key"):
                assert f"{kernel} F{F} D{D} K16 top8 {end}" in names


def test_a_job_is_named_by_all_that_its_outcome_depends_on(aot):
    cases = {case.name: case for case in aot.all_cases(2)}
    masked, unmasked = (cases[f"fine_forward F4 D32 K8 top0 B{x}"] for x in ("", " unmasked"))
    jobs = [aot.job(masked, "fp16", 90), aot.job(masked, "fp16", 80), aot.job(masked, "bf16", 90)]
    jobs += [aot.job(unmasked, "fp16", 90)]
    jobs += [aot.job(replace(masked, settings=masked.settings | {"num_warps": 2}), "fp16", 90)]
    assert len({job.key for job in jobs}) == len(jobs)
    assert aot.job(masked, "fp16", 90).key == jobs[0].key


def test_the_command_goes_on_from_its_record_and_sums_it_up(aot, tmp_path, monkeypatch):
    took = []

    def compiled(job):
        took.append((job.case.name, job.arch))
        return job

    monkeypatch.setattr(aot, "compiled", compiled)
    monkeypatch.setattr(aot, "usage", lambda job: aot.Usage(40 + job.arch, 8, 1024, 500))
    options = ["--only", "coarse_backward_by_key D32", "--dtype", "fp16"]
    record, lines = ["--record", str(tmp_path / "aot.jsonl")], []
    assert aot.main([*options, *record, "--arch", "80", "--minutes", "0"], lines.append) == 0
    assert lines[:2] == [
        f"Triton {aot.triton.__version__}: 4 kernels, 0 known",
        "out of time: 0 minutes",
    ]
    assert not took
    assert aot.main([*options, *record, "--arch", "80"], lines.append) == 0
    assert aot.main([*options, *record], lines.append) == 0
    assert len(took) == len(set(took)) == 12  # two variants, two masks, three architectures
    lines = []
    assert aot.main([*options, *record, "--summary"], lines.append) == 0
    cells = " | ".join(f"{40 + arch} / 8 / 1024" for arch in (80, 90, 100))
    assert lines[-1] == f"| coarse_backward_by_key | fp16 | 32 | 4 | {cells} |"
    assert len(took) == 12


def test_equal_settings_are_compiled_once_and_listed_under_each_label(aot, monkeypatch):
    took, lines = [], []
    monkeypatch.setattr(aot, "compiled", took.append)
    monkeypatch.setattr(aot, "usage", lambda _: aot.Usage(40, 0, 0, 500))
    options = ["--arch", "90", "--dtype", "fp32", "--only", "coarse_forward.* D64 top16 A$"]
    assert aot.main(options, lines.append) == 0
    assert len(took) == 1  # of 64 float32 channels, blocks are the same however many there are
    assert [line.split(" | ")[0] for line in lines[-2:]] == [
        "| coarse_forward L1296 D64 top16 A",
        "| coarse_forward L5184 D64 top16 A",
    ]


def test_a_kernel_that_does_not_compile_is_named_and_fails_the_command(aot, monkeypatch):
    def refuse(job):
        raise RuntimeError("too much of it")

    lines = []
    monkeypatch.setattr(aot, "compiled", refuse)
    assert (
        aot.main(["--only", "sum_lists D16", "--arch", "90", "--dtype", "bf16"], lines.append) == 1
    )
    assert lines[-1] == "failed: sum_lists D16 bf16 sm_90: 'too much of it'"


def test_kernels_are_asked_for_by_regular_expressions(aot, capsys):
    options = ["--summary", "--dtype", "fp16", "--arch", "90", "--channels", "16"]
    lines = []
    assert aot.main([*options, "--only", r"^coarse_forward.* A$"], lines.append) == 0
    assert lines[0].endswith(": 4 kernels, 0 known")
    with pytest.raises(SystemExit):
        aot.main([*options, "--only", "("])
    assert "'(' is no regular expression" in capsys.readouterr().err


def test_without_the_tools_of_triton_the_command_says_so(aot, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(aot, "TOOL", tmp_path / "cuobjdump")
    assert aot.main([]) == 2
    assert capsys.readouterr().err.endswith("cuobjdump: install Triton's Linux wheel\n")
