"""Tiny matchers and point decoders for tests, one of them with features whose answer is known."""

import torch
from torch import nn
from torch.nn import functional as F

from matching.model import Features, build_matcher
from matching.point_config import PointConfig
from matching.point_model import build_point_matcher
from tests.matching.test_model import TINY

TINY_POINTS = PointConfig(channels=16, heads=2, layers=2, coarse_channels=16, fine_channels=8)
CELL = 8


def tiny_point_matcher(seed=0, **settings):
    """A point matcher with random weights that move points."""
    torch.manual_seed(seed)
    config = PointConfig(**{**vars(TINY_POINTS), **settings})
    points = build_point_matcher(build_matcher(TINY).eval(), config).eval()
    for layer in points.decoder.layers:
        nn.init.normal_(layer.step[-1].weight, std=0.3)
    return points


def perfect_point_matcher():
    """A point matcher that knows each cell by its 8 x 8 pixels, and whose layers move nothing."""
    torch.manual_seed(0)
    config = PointConfig(
        channels=16, heads=2, layers=1, refinements=0, coarse_channels=64, fine_channels=8
    )
    points = build_point_matcher(_PatchFeatures(), config).eval()
    nn.init.zeros_(points.decoder.visible[-1].weight)
    nn.init.constant_(points.decoder.visible[-1].bias, 3.0)  # everything is visible
    return points


class _PatchFeatures(nn.Module):
    """Stands in for a Matcher: coarse tokens are the pixels of a cell."""

    cell_centre = 3.5
    size_multiple = 16

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(50.0).log())
        self.fine = nn.Module()
        self.fine.down_proj = nn.Linear(64, 8)

    def extract(self, image, mask=None):
        cells = F.pixel_unshuffle(image, CELL)
        fine = F.pixel_unshuffle(image, 2).repeat(1, 2, 1, 1)
        smaller = None if mask is None else mask[:, CELL // 2 :: CELL, CELL // 2 :: CELL]
        return Features(cells - cells.mean(1, keepdim=True), fine, smaller)

    def coarse_tokens(self, features0, features1):
        return features0.coarse.flatten(2).mT, features1.coarse.flatten(2).mT

    def scaled(self, tokens):
        return F.normalize(tokens, dim=-1), self.log_scale.exp()
