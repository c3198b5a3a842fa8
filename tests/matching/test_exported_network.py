import os
from dataclasses import replace

import pytest
import torch

from matching.config import CoarseConfig, FineConfig, MatcherConfig, TrunkConfig
from matching.exported_network import FixedCountMatcher
from matching.model import build_matcher

pytestmark = pytest.mark.skipif(
    "QUADVIEW_BACKEND" in os.environ, reason="the stages before are those of the matcher"
)
TINY = MatcherConfig(
    trunk=TrunkConfig("slim", (4, 8, 8, 8), (0, 0, 0, 0), fine_channels=8),
    coarse=CoarseConfig(
        block="quadtree",
        attention="quadtree",
        channels=16,
        heads=2,
        kinds=("self", "cross"),
        simultaneous=True,
        topk=(4, 2),
    ),
    fine=FineConfig("patch", window=8, iterations=1),
    similarity="cosine",
    threshold=0.0,
    border=0,
    half_pixel_cells=True,
)


def network(border=0, fine="patch", kinds=TINY.coarse.kinds):
    torch.manual_seed(0)
    config = MatcherConfig(
        trunk=TINY.trunk,
        coarse=replace(TINY.coarse, kinds=kinds),
        fine=TINY.fine if fine == "patch" else FineConfig(window=5, heads=2),
        similarity="cosine",
        threshold=0.0,
        border=border,
        half_pixel_cells=fine == "patch",
    )
    return build_matcher(config).eval()


def images(generator, size=(64, 96), shift=8, batch=2):
    """Noise in which the second image lies `shift` px further right."""
    scene = torch.rand(batch, 1, size[0], size[1] + shift, generator=generator)
    return scene[..., :-shift].contiguous(), scene[..., shift:].contiguous()


def of_pair(found, number):
    """Matches of one pair that end in the image, as the network gives them."""
    mine = found.pair == number
    columns = [x[mine] for x in (found.kpts0, found.kpts1, found.confidence)]
    last = torch.tensor([95, 63])
    inside = ((columns[1] >= 0) & (columns[1] <= last)).all(1)
    return [x[inside] for x in columns]


@pytest.mark.parametrize("border", [0, 1])
@pytest.mark.parametrize("fine", ["patch", "loftr"])
def test_the_matches_are_those_of_the_matcher_padded_with_zeros(border, fine, generator):
    matcher = network(border, fine)
    pair = images(generator)
    with torch.no_grad():
        want = matcher(*pair)
        kpts0, kpts1, confidence, count = FixedCountMatcher(matcher, 96)(*pair)
    assert kpts0.shape == (2, 96, 2)
    for number in (0, 1):
        n = int(count[number])
        wanted = of_pair(want, number)
        assert n == len(wanted[0]) > 10
        got = [x[number, :n] for x in (kpts0, kpts1, confidence)]
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)
        assert not torch.cat([x[number, n:].flatten() for x in (kpts0, kpts1, confidence)]).any()


def test_of_too_many_matches_the_best_are_given(generator):
    matcher = network()
    pair = images(generator)
    with torch.no_grad():
        all_of_them = FixedCountMatcher(matcher, 96)(*pair)
        best = FixedCountMatcher(matcher, 4)(*pair)
    assert best[0].shape == (2, 4, 2)
    torch.testing.assert_close(best[2][:, :3], all_of_them[2][:, :3])
    assert (best[2].diff(dim=1) <= 0).all()


@pytest.mark.parametrize("border", [0, 1])
def test_what_lies_under_a_mask_changes_nothing_and_is_not_matched(border, generator):
    matcher = FixedCountMatcher(network(border), 96)
    image0, image1 = images(generator)
    masks = [torch.ones(2, 64, 96, dtype=torch.bool) for _ in range(2)]
    masks[0][:, :, 80:] = False
    masks[1][:, 48:] = False
    torn = [
        torch.where(m[:, None], i, torch.nan) for i, m in zip((image0, image1), masks, strict=True)
    ]
    with torch.no_grad():
        got = matcher(*torn, *masks)
        plain = matcher(image0, image1, *masks)
        want = matcher.matcher(image0, image1, *masks)
    torch.testing.assert_close(got, plain, atol=1e-5, rtol=0)
    for number in (0, 1):
        n = int(got[3][number])
        assert n > 5
        assert (got[0][number, :n, 0] < 80).all()
        assert (got[1][number, :n, 1] < 48).all()
        theirs = {tuple(row) for row in want.kpts0[want.pair == number].tolist()}
        assert {tuple(row) for row in got[0][number, :n].tolist()} <= theirs


def test_optimal_transport_and_no_rows_are_refused():
    matcher = network()
    with pytest.raises(ValueError, match="max_matches must be 1 or more"):
        FixedCountMatcher(matcher, 0)
    matcher.dustbin = torch.nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ValueError, match="by dual softmax"):
        FixedCountMatcher(matcher, 5)
