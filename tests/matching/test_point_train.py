import json
import os

import numpy as np
import pytest
import torch

from data_scripts.two_view import TwoView
from matching import point_train as training
from matching.checkpoint import load_checkpoint, save_checkpoint
from matching.data import PairBatches, PairSettings
from matching.model import build_matcher
from matching.point_data import PointBatches, drawn_points, joined
from matching.point_model import load_points
from tests.matching.test_model import TINY
from tests.noise_photos import write_noise_photos

pytestmark = pytest.mark.skipif(
    "QUADVIEW_BACKEND" in os.environ, reason="the decoder is tested with each backend elsewhere"
)


@pytest.fixture
def arguments(tmp_path):
    """A run of a tiny decoder on a tiny matcher and four photos of noise, a few seconds long."""
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "matcher.safetensors", build_matcher(TINY), TINY, {})
    write_noise_photos(tmp_path / "photos", 4, 160, 120)
    return [
        f"--photos={tmp_path / 'photos'}", f"--out={tmp_path / 'out'}",
        f"--weights={tmp_path / 'matcher.safetensors'}", "--workers=0", "--validate-every=2",
        "--validation-batches=1", "--hold-out=2", "--points=9", "--pairs.sizes", "64", "64",
        "--pairs.batch=2", "--pairs.scenes=0", "--device=cpu", "--decoder.channels=16",
        "--decoder.heads=2", "--decoder.layers=1", "--decoder.coarse-channels=16",
        "--decoder.fine-channels=8",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_run_learns_goes_on_and_leaves_weights_that_load(arguments, tmp_path):
    assert training.main([*arguments, "--steps=4", "--minutes=0"]) == 0  # one step
    assert torch.load(tmp_path / "out" / "last.pt", weights_only=True)["step"] == 1
    assert training.main([*arguments, "--steps=2"]) == 0
    line = json.loads((tmp_path / "out" / "log.jsonl").read_text().splitlines()[-1])
    assert line["step"] == 2
    assert np.isfinite(line["loss"])
    matcher, _, _ = load_checkpoint(tmp_path / "matcher.safetensors")
    _, config, card = load_points(tmp_path / "out" / "points.safetensors", matcher)
    assert config.channels == 16
    assert card["steps"] == 2


def test_wrong_inputs_are_one_line(arguments, capsys):
    assert training.main([*arguments, "--points=0"]) == 2
    assert "points must be 1 or more" in capsys.readouterr().err


def test_points_have_the_partners_of_their_pixels(generator):
    x, y = torch.meshgrid(torch.arange(20.0), torch.arange(10.0), indexing="xy")
    warp = torch.stack([x + 2, y - 1], -1)  # (10, 20, 2)
    visible = (warp[..., 0] <= 19) & (warp[..., 1] >= 0)
    image = torch.zeros(3, 10, 20)
    view = TwoView(image, image, warp * visible[..., None], visible, warp, visible)
    points, partners, seen = drawn_points(view, 50, generator)
    assert seen.float().mean() > 0.6
    # beside what is not visible the nearest pixel answers, at most half a pixel away
    inner = seen & (points[:, 0] < 16) & (points[:, 1] > 2)
    assert inner.sum() > 20
    moved = points + torch.tensor([2.0, -1.0])
    torch.testing.assert_close(partners[inner], moved[inner])
    assert (partners[seen] - moved[seen]).abs().max() <= 0.5
    assert ((points >= 0) & (points <= torch.tensor([19.0, 9.0]))).all()


def test_a_number_gives_the_same_points_each_time():
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (100, 120, 3), dtype=np.uint8)]
    settings = PairSettings(sizes=((64, 64),), batch=2, scenes=0)
    data = PointBatches(PairBatches(photos, settings, 3.5, seed=5), 7)
    first, again = data[3], data[3]
    assert all(torch.equal(value, getattr(again, name)) for name, value in vars(first).items())
    assert first.points0.shape == (2, 7, 2)
    assert joined([first, again]).visible.shape == (4, 7)
