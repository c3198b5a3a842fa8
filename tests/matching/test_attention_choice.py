from dataclasses import replace
from typing import get_args

import pytest
import torch

from attention_ops import MECHANISMS
from matching.config import SMALL, Attention
from matching.model import build_matcher


def test_every_mechanism_of_maps_can_be_chosen():
    assert set(get_args(Attention)) == set(MECHANISMS)


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_matcher_with_any_mechanism_takes_images_of_two_sizes(name):
    torch.manual_seed(0)
    coarse = replace(SMALL.coarse, attention=name, channels=32, heads=2, kinds=("self", "cross"))
    matcher = build_matcher(replace(SMALL, coarse=coarse, threshold=0.0)).eval()
    images = torch.rand(1, 1, 64, 96), torch.rand(1, 1, 80, 64)
    with torch.no_grad():
        matches = matcher(*images)
    assert matches.confidence.isfinite().all()
    assert len(matches.confidence) > 0
