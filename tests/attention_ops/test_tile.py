import pytest
import torch

from attention_ops import tile
from attention_ops.tile import select


def test_selection_is_ascending_and_takes_the_lower_of_equals():
    rank = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert select(rank, 3, all_valid=True).tolist() == [[1, 2, 3], [0, 1, 2]]


def test_selection_of_none_and_of_more_than_there_are():
    rank = torch.tensor([[1.0, 3.0, 2.0]])
    assert select(rank, 0, all_valid=True).shape == (1, 0)
    assert select(rank, 7, all_valid=True).tolist() == [[0, 1, 2]]


def test_selection_ends_with_minus_one_where_too_few_are_valid():
    out = -torch.inf
    rank = torch.tensor([[out, 3.0, out, 1.0], [out, out, out, out]])
    assert select(rank, 3, all_valid=False).tolist() == [[1, 3, -1], [-1, -1, -1]]
    assert select(rank, 4, all_valid=False).tolist() == [[1, 3, -1, -1], [-1, -1, -1, -1]]


@pytest.mark.parametrize("all_valid", [True, False])
def test_what_a_graph_records_asks_nothing_and_selects_the_same(all_valid, generator, monkeypatch):
    rank = torch.randint(4, (50, 23), generator=generator).float()  # full of ties
    if not all_valid:
        rank[rank == 0] = -torch.inf
        rank[7] = -torch.inf
    want = [select(rank, topk, all_valid) for topk in (0, 1, 6, 23, 30)]
    monkeypatch.setattr(tile, "_captured", lambda _: True)
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda _: pytest.fail("a graph cannot be asked"))
    found = [select(rank, topk, all_valid) for topk in (0, 1, 6, 23, 30)]
    monkeypatch.undo()
    assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))
