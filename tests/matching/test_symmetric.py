import numpy as np
import torch

from matching.model import MatchBatch
from matching.resize import prepare
from matching.symmetric import in_canonical_order, merged, swapped


def batch_of(rows):
    """Rows of pair, cell0, cell1, confidence, spread; points are told from the spread and cells."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    pair, cell0, cell1 = table[:, :3].long().T
    return MatchBatch(
        pair=pair,
        kpts0=torch.stack([cell0 + table[:, 4], cell0 - table[:, 4]], 1),
        kpts1=torch.stack([cell1 - table[:, 4], cell1 + table[:, 4]], 1),
        confidence=table[:, 3],
        spread=table[:, 4],
        cell0=cell0,
        cell1=cell1,
    )


def test_merging_keeps_the_surer_of_two_and_everything_seen_once():
    ahead = batch_of([[0, 1, 5, 0.9, 2.0], [0, 2, 6, 0.8, 1.0], [1, 1, 5, 0.3, 1.0]])
    back = batch_of([[0, 1, 5, 0.7, 1.5], [0, 3, 7, 0.85, 1.0]])
    both = merged(ahead, back)
    assert both.pair.tolist() == [0, 0, 0, 1]
    assert both.cell0.tolist() == [3, 2, 1, 1]  # by confidence 0.85, 0.8, 0.7 in pair 0
    assert both.spread.tolist() == [1.0, 1.0, 1.5, 1.0]
    assert both.kpts0[2].tolist() == [2.5, -0.5]  # of the match of spread 1.5


def test_equally_sure_matches_of_the_same_cells_are_averaged():
    ahead, back = batch_of([[0, 1, 1, 0.5, 1.0]]), swapped(batch_of([[0, 1, 1, 0.5, 1.0]]))
    both = merged(ahead, back)
    assert both.kpts0.tolist() == both.kpts1.tolist() == [[1.0, 1.0]]


def test_merging_nothing_gives_nothing():
    empty = batch_of([])
    assert len(merged(empty, empty).pair) == 0


def test_exactly_one_order_of_two_different_images_is_canonical():
    rng = np.random.default_rng(0)
    grey = rng.random((6, 8), dtype=np.float32)
    mask = rng.random((6, 8)) > 0.5
    images = [
        prepare(grey, None, None),
        prepare(grey.T.copy(), None, None),
        prepare(grey, mask, None),
    ]
    for n, first in enumerate(images):
        for second in images[:n]:
            assert in_canonical_order(first, second) != in_canonical_order(second, first)
        assert in_canonical_order(first, first)
