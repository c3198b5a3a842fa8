from pathlib import Path

import pytest
import torch

from data_scripts.__main__ import main as data_scripts
from stereo.data import PairSettings, StereoBatches
from stereo.real_pairs import RealPairSettings, real_pairs
from tests.shared_data import shared


def test_no_set_gives_no_pairs():
    assert real_pairs(RealPairSettings()) == []


@pytest.mark.parametrize("name", ["sceneflow", "kitti", "middlebury"])
def test_a_missing_folder_is_named(name):
    with pytest.raises(FileNotFoundError, match="got nowhere: no folder"):
        real_pairs(RealPairSettings(**{name: (Path("nowhere"),)}))


@pytest.mark.parametrize("name", ["sceneflow", "kitti", "middlebury"])
def test_a_folder_that_holds_no_such_set_is_refused_with_what_it_must_hold(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold"):
        real_pairs(RealPairSettings(**{name: (tmp_path,)}))


def test_a_share_beyond_one_is_refused():
    with pytest.raises(ValueError, match="share"):
        RealPairSettings(share=1.5)


def test_the_samples_of_three_sets_fill_batches():
    layouts = shared("data/stereo/layouts")
    listed = RealPairSettings(
        share=1.0,
        sceneflow=(layouts / "SCENE_FLOW",),
        sceneflow_pass="clean",
        kitti=(layouts / "KITTI_2015",),
        middlebury=(layouts / "MIDDLEBURY_2014",),
    )
    readers = real_pairs(listed)
    assert len(readers) >= 3
    settings = PairSettings(sizes=((96, 192),), batch=3, real=listed)
    for number in range(3):
        batch = StereoBatches([], settings, 0, real=readers)[number]
        assert batch.left.shape == (3, 3, 96, 192)
        assert batch.known.float().mean() > 0.05
        assert (batch.disp[batch.known] > 0).all()


@pytest.mark.parametrize(
    ("name", "folder"), [("kitti", "KITTI_2015"), ("middlebury", "MIDDLEBURY_2014")]
)
def test_a_converted_set_gives_the_pairs_of_its_folder(name, folder, tmp_path):
    root = shared("data/stereo/layouts") / folder
    out = tmp_path / "set.h5"
    assert data_scripts([name, "--raw", str(root), "--out", str(out)]) == 0
    converted = real_pairs(RealPairSettings(converted=(out,)))
    originals = real_pairs(RealPairSettings(**{name: (root,)}))
    assert len(converted) == len(originals)
    first, want = converted[0](), originals[0]()
    for field in ("left", "right", "disp", "known", "occluded"):
        torch.testing.assert_close(getattr(first, field), getattr(want, field))
