import logging

import pytest
import torch
from torch.nn import functional as F

from matching.checkpoint import load_checkpoint
from matching.config import PRESETS
from matching.model import build_matcher
from matching.point_config import PointConfig
from matching.point_maps import Pyramid
from matching.point_model import (
    PointMatcher,
    build_point_matcher,
    load_points,
    save_points,
)
from matching.predictor import weights_path
from tests.matching.test_model import TINY
from tests.matching.tiny_points import TINY_POINTS, perfect_point_matcher, tiny_point_matcher

ATTENTIONS = ("full", "conditional", "deformable", "quadtree")


def images(generator, count=1):
    image0 = torch.rand(count, 1, 64, 80, generator=generator)
    image1 = torch.rand(count, 1, 48, 64, generator=generator)
    points = torch.rand(count, 7, 2, generator=generator) * torch.tensor([79.0, 63.0])
    return image0, image1, points


def test_a_shifted_image_has_its_points_where_the_shift_says(generator):
    scene = torch.rand(1, 1, 96, 128, generator=generator)
    image0, image1 = scene[..., :64, 16:112], scene[..., 16:80, :96]  # x + 16, y - 16
    x, y = torch.arange(3.5, 80, 8), torch.arange(19.5, 64, 8)
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(1, -1, 2)
    found = perfect_point_matcher()(image0, image1, points)
    torch.testing.assert_close(
        found.points1, points + torch.tensor([16.0, -16.0]), atol=1e-3, rtol=0
    )
    assert (found.confidence > 0.9).all()


def test_a_point_between_cells_lies_between_their_places(generator):
    scene = torch.rand(1, 1, 64, 64, generator=generator)
    points = torch.tensor([[[23.5, 27.5]]])  # halfway between the middles of cells 2 and 3
    found = perfect_point_matcher()(scene, scene, points)
    # the middle of the nearest cell is 4 px away
    torch.testing.assert_close(found.points1, points, atol=3.0, rtol=0)


@pytest.mark.parametrize("start", ["correlation", "learned"])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_batch_gives_what_its_pairs_and_points_give(attention, start, generator):
    points = tiny_point_matcher(attention=attention, start=start)
    image0, image1, asked = images(generator, 2)
    together = points(image0, image1, asked)
    assert together.points1.shape == (2, 7, 2)
    assert torch.isfinite(together.points1).all()
    alone = points(image0[1:], image1[1:], asked[1:, 2:5])
    torch.testing.assert_close(alone.points1[0], together.points1[1, 2:5], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(alone.confidence[0], together.confidence[1, 2:5], atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention", ["full", "conditional", "quadtree"])
def test_what_starts_alike_attends_to_what_looks_alike(attention, generator):
    points = tiny_point_matcher(attention=attention, start="learned", alike=True, refinements=0)
    other = points.decoder.layers[0].other
    for projection in (other.mechanism.value, other.mechanism.out):
        torch.nn.init.eye_(projection.weight)
        if projection.bias is not None:
            torch.nn.init.zeros_(projection.bias)
    cells = 5 * F.normalize(torch.randn(1, 4, 4, 16, generator=generator), dim=-1)
    pyramid = Pyramid(cells, None, (), (), torch.tensor([[32.0, 32.0]]))
    middle = torch.full((1, 16, 2), 15.5)
    message = other(cells.flatten(1, 2), middle, pyramid)
    nearest = torch.cdist(message, cells.flatten(1, 2))[0].argmin(-1)
    assert (nearest == torch.arange(16)).float().mean() > 0.8


def test_queries_and_cells_that_start_alike_share_one_projection():
    decoder = tiny_point_matcher(attention="full", alike=True).decoder
    torch.testing.assert_close(decoder.query.weight[:, :16], decoder.coarse.weight)
    gram = decoder.coarse.weight @ decoder.coarse.weight.mT
    torch.testing.assert_close(gram, torch.eye(16), atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_no_points_are_no_error(attention, generator):
    image0, image1, asked = images(generator)
    found = tiny_point_matcher(attention=attention)(image0, image1, asked[:, :0])
    assert found.points1.shape == (1, 0, 2)
    assert found.confidence.shape == (1, 0)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_padding_and_what_lies_under_it_change_nothing(attention, generator):
    points = tiny_point_matcher(attention=attention)
    scene, image1, _ = images(generator)
    mask = torch.zeros(1, 96, 112, dtype=torch.bool)
    mask[:, :64, :80] = True
    found = []
    asked = torch.tensor([[[3.0, 5.0], [40.5, 33.0], [79.0, 63.0]]])
    for filling in (0.0, float("nan")):
        padded = torch.full((1, 1, 96, 112), filling)
        padded[..., :64, :80] = scene
        found.append(points(padded, image1, asked, mask))
    torch.testing.assert_close(found[0].points1, found[1].points1)
    under = points(padded, image1, torch.tensor([[[90.0, 5.0], [20.0, 70.0]]]), mask)
    assert torch.isnan(under.points1).all()
    assert (under.confidence == 0).all()


def test_points_outside_and_not_a_number_get_nan_and_leave_the_others_alone(generator):
    points = tiny_point_matcher()
    image0, image1, asked = images(generator)
    wrong = torch.tensor([[[-0.1, 5], [79.1, 5], [5, 63.1], [float("nan"), 5], [float("inf"), 5]]])
    found = points(image0, image1, torch.cat([wrong, asked], 1))
    assert torch.isnan(found.points1[:, :5]).all()
    assert (found.confidence[:, :5] == 0).all()
    torch.testing.assert_close(found.points1[:, 5:], points(image0, image1, asked).points1)


def test_many_points_go_in_chunks_and_nothing_changes(generator, monkeypatch):
    points = tiny_point_matcher()
    image0, image1, asked = images(generator)
    whole = points(image0, image1, asked)
    monkeypatch.setattr("matching.point_model.CHUNK", 3)
    torch.testing.assert_close(
        points(image0, image1, asked).points1, whole.points1, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_weight_of_the_decoder_learns(attention, generator):
    points = tiny_point_matcher(attention=attention)
    image0, image1, asked = images(generator)
    features = points.matcher.extract(image0), points.matcher.extract(image1)
    found = points.decoder(points.prepare(*features), asked)
    everything = [found.points, *found.layers, *found.refined, *found.log_spreads]
    (sum(part.square().sum() for part in everything) + found.visible_logit.sum()).backward()
    silent = [n for n, p in points.decoder.named_parameters() if p.grad is None]
    assert not silent


def test_a_saved_decoder_comes_back(tmp_path, generator):
    points = tiny_point_matcher()
    path = tmp_path / "points.safetensors"
    save_points(path, points, TINY_POINTS, {"steps": 3}, torch.float32)
    again, config, card = load_points(path, points.matcher)
    assert (config, card["steps"]) == (TINY_POINTS, 3)
    image0, image1, asked = images(generator)
    torch.testing.assert_close(
        again(image0, image1, asked).points1, points(image0, image1, asked).points1
    )


def test_a_decoder_of_another_matcher_is_told(tmp_path, caplog):
    points = tiny_point_matcher()
    save_points(tmp_path / "points.safetensors", points, TINY_POINTS, {})
    torch.manual_seed(1)
    with caplog.at_level(logging.WARNING):
        load_points(tmp_path / "points.safetensors", build_matcher(TINY))
    assert "trained on the features of other weights" in caplog.text


def test_the_features_are_those_of_a_matcher_whatever_its_fine_stage(tmp_path, caplog):
    points = tiny_point_matcher()
    save_points(tmp_path / "points.safetensors", points, TINY_POINTS, {})
    for weight in points.matcher.fine.parameters():
        torch.nn.init.normal_(weight)
    with caplog.at_level(logging.WARNING):
        load_points(tmp_path / "points.safetensors", points.matcher)
    assert not caplog.text


def test_the_shipped_decoder_knows_the_features_of_the_shipped_matcher(caplog):
    matcher, *_ = load_checkpoint(weights_path("small"))
    with caplog.at_level(logging.WARNING):
        load_points(weights_path("small_points"), matcher)
    assert not caplog.text


def test_matchers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must have half_pixel_cells"):
        PointMatcher(build_matcher(PRESETS["quadtree"]), None)
    with pytest.raises(ValueError, match="channels as this matcher makes them"):
        build_point_matcher(build_matcher(TINY), PointConfig())


@pytest.mark.parametrize("wrong", [{"channels": 10}, {"layers": 0}, {"refinements": -1}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        PointConfig(**wrong)
