import pytest

from eval.benchmarks import BENCHMARKS
from eval.published import all_published, published
from eval.stereo_benchmarks import STEREO_BENCHMARKS


def test_every_row_has_its_numbers_its_protocol_and_its_source():
    rows = all_published()
    assert len(rows) > 50
    for row in rows:
        assert row.values
        assert len(row.values) == len(row.metric.split("@")[-1].split("/"))
        assert row.protocol
        assert len(row.source) > 5


def test_every_table_belongs_to_a_benchmark_and_the_other_way_round():
    named = {each.published for each in (*BENCHMARKS.values(), *STEREO_BENCHMARKS.values())} - {""}
    assert named == {row.benchmark for row in all_published()}


def test_recalled_numbers_say_so():
    rows = {(row.method, row.values): row.source for row in published("scannet1500")}
    assert "from memory" in rows["LoFTR-OT", (21.5, 40.4, 57.4)]
    assert "from memory" not in rows["QuadTree-B, K = 16", (24.9, 44.7, 61.8)]


@pytest.mark.parametrize("values", [(24.9, 44.7, 61.8), (22.06, 40.8, 57.62), (16.2, 33.8, 51.8)])
def test_numbers_of_the_protocol_page_are_there(values):
    assert values in {row.values for row in published("scannet1500")}
