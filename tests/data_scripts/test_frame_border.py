import pytest
import torch

from data_scripts.frame_border import FrameSettings, frame_inside, framed
from data_scripts.two_view import TwoView

ALWAYS = FrameSettings(share=1.0, one_share=0.0, max_width=0.2, max_bend=0.0, black_share=1.0)


def still_pair(height=40, width=60):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    warp = torch.stack([x, y], -1).float()
    seen = torch.ones(height, width, dtype=torch.bool)
    image = torch.full((3, height, width), 0.5)
    return TwoView(image, image, warp, seen, warp, seen)


def test_what_a_frame_covers_is_black_and_matches_nothing(generator):
    for _ in range(8):
        view = framed(still_pair(), generator, ALWAYS)
        covered0, covered1 = view.image0[0] == 0, view.image1[0] == 0
        # the pair stands still, so a pixel is visible exactly where neither image is covered
        torch.testing.assert_close(view.visible_0to1, ~covered0 & ~covered1)
        torch.testing.assert_close(view.visible_1to0, ~covered0 & ~covered1)
        assert (view.image0[:, ~covered0] == 0.5).all()


def test_no_pair_has_a_frame_when_none_is_asked_for(generator):
    view = still_pair()
    assert framed(view, generator, FrameSettings(share=0)) is view


def test_one_image_alone_can_be_framed(generator):
    settings = FrameSettings(share=1.0, one_share=1.0, max_width=0.3)
    views = [framed(still_pair(), generator, settings) for _ in range(20)]
    assert all((view.image0 == 0.5).all() or (view.image1 == 0.5).all() for view in views)
    assert any((view.image0 != 0.5).any() for view in views)
    assert any((view.image1 != 0.5).any() for view in views)


def test_straight_frames_are_rectangles_no_wider_than_said(generator):
    for _ in range(10):
        inside = frame_inside(100, 200, generator, ALWAYS)
        assert inside[20:80, 40:160].all()
        torch.testing.assert_close(inside, inside.any(1)[:, None] & inside.any(0))


def test_frames_that_could_cover_the_image_are_refused():
    with pytest.raises(ValueError, match="max_width"):
        FrameSettings(max_width=0.5)
