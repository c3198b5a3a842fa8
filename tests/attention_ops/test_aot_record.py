"""The file that compiled kernels are kept in, and its tables."""

import pytest

from attention_ops.triton_kernels import aot_record
from attention_ops.triton_kernels.aot_record import Row
from tests.attention_ops.cuda_emulation import once

pytestmark = once
ROW = Row("k1", "fine_forward F4 D32 K8 top0 A", "fine_forward", "fp16", 32, 90, 1, 64, 0, 2048, 7)
OTHER = Row("k2", "fine_forward F4 D32 K8 top0 B", "fine_forward", "fp16", 32, 90, 2, 60, 8, 99, 9)
LATER = Row("k3", "chosen_bits", "chosen_bits", "fp16", 0, 80, 2, 30, 0, 0, 5)


def test_rows_come_back_and_one_cut_short_is_compiled_again(tmp_path):
    path = tmp_path / "record.jsonl"
    assert aot_record.read(path) == {}
    for row in (ROW, OTHER):
        aot_record.append(path, row)
    assert aot_record.read(path) == {"k1": ROW, "k2": OTHER}
    path.write_text(path.read_text()[:-5])
    assert aot_record.read(path) == {"k1": ROW}
    aot_record.append(path, LATER)
    assert aot_record.read(path) == {"k1": ROW, "k3": LATER}


@pytest.mark.parametrize("line", ["{}", "[1]", '{"key": "k1"}', "no JSON"])
def test_another_file_is_refused_in_one_line(tmp_path, line):
    path = tmp_path / "record.jsonl"
    aot_record.append(path, ROW)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"record.jsonl, line 2: wanted .* name another") as caught:
        aot_record.read(path)
    assert "\n" not in str(caught.value)


def test_the_summary_has_the_worst_of_each_kernel_and_says_what_is_missing():
    assert list(aot_record.summary([ROW, OTHER, LATER], [80, 90])) == [
        "| kernel | dtype | D | settings | sm_80 | sm_90 |",
        "|---|---|---|---|---|---|",
        "| chosen_bits | fp16 |  | 1 | 30 / 0 / 0 | not compiled |",
        "| fine_forward | fp16 | 32 | 2 | not compiled | 64 / 8 / 2048 |",
    ]


def test_the_listing_has_every_row():
    found = list(aot_record.listing([ROW, LATER]))
    assert len(found) == 4
    assert found[2] == "| fine_forward F4 D32 K8 top0 A | fp16 | 90 | 1 | 64 | 0 | 2048 | 7 |"
