from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from matching.attention_view import last_cross_attention, trace_attention
from matching.config import PRESETS
from matching.model import build_matcher
from matching.predictor import MatchPredictor

SMALL = PRESETS["small"]
CONFIG = replace(SMALL, coarse=replace(SMALL.coarse, kinds=("self", "cross"), topk=(4, 3, 2)))
SCENE = np.random.default_rng(0).integers(0, 256, (150, 210), dtype=np.uint8)


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(0)
    return MatchPredictor(build_matcher(CONFIG), long_side=105)


def trace(predictor, point):
    # 105 x 75 px: 14 x 10 cells of 8 px, and a half one at the right that is mostly padding.
    return trace_attention(predictor, predictor.extract(SCENE), predictor.extract(SCENE), point)


def test_each_level_looks_only_inside_the_cells_of_the_level_above(predictor):
    levels = trace(predictor, (100.0, 60.0)).levels
    assert len(levels) == 3
    for above, below in pairwise(levels):
        assert len(below.boxes) > 0
        for left, top, right, bottom in below.boxes:
            left0, top0, right0, bottom0 = above.boxes.T
            inside = (left0 <= left) & (top0 <= top) & (right <= right0) & (bottom <= bottom0)
            assert inside.any()


def test_every_box_lies_in_the_image_and_shares_are_of_the_heads(predictor):
    for level, topk in zip(
        trace(predictor, (209.0, 149.0)).levels, CONFIG.coarse.topk, strict=True
    ):
        assert (level.boxes[:, :2] >= -0.5).all()
        assert (level.boxes[:, 2:] <= (209.5, 149.5)).all()
        assert (level.boxes[:, 2:] > level.boxes[:, :2]).all()
        assert set(np.rint(level.share * CONFIG.coarse.heads)) <= {1, 2, 3, 4}
        assert level.share.sum() <= topk + 1e-9  # every head visits at most so many


def test_the_asking_cell_holds_the_point_and_is_of_the_size_of_a_cell(predictor):
    left, top, right, bottom = trace(predictor, (33.0, 14.0)).box
    # A network pixel is 2 px here and a cell 8 of them: columns 32 to 47, rows 0 to 15.
    assert (left, top, right, bottom) == (31.5, -0.5, 47.5, 15.5)


def test_a_point_outside_the_image_is_refused(predictor):
    with pytest.raises(ValueError, match=r"x in \[0, 209\] and y in \[0, 149\], got 210, 3"):
        trace(predictor, (210.0, 3.0))


def test_tracing_leaves_no_hook_behind(predictor):
    trace(predictor, (1.0, 1.0))
    assert not last_cross_attention(predictor.network.matcher)._forward_pre_hooks


def test_attention_that_visits_everything_cannot_be_shown():
    coarse = replace(SMALL.coarse, attention="linear", position="none")
    with pytest.raises(ValueError, match="got LinearAttention; use the weights 'small'"):
        last_cross_attention(build_matcher(replace(SMALL, coarse=coarse)))
