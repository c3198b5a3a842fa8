from pathlib import Path

import pytest
import torch

from data_scripts.conversion import convert
from matching.data import PairBatches, PairSettings
from matching.real_pairs import RealPairSettings, real_pairs
from tests.data_scripts.dataset_files import draw_plan
from tests.shared_data import shared


def test_no_set_gives_no_pairs():
    assert real_pairs(RealPairSettings()) == []


def test_a_set_given_in_part_is_refused():
    with pytest.raises(ValueError, match="scannet must come with scannet_pairs"):
        real_pairs(RealPairSettings(scannet=Path("x")))
    with pytest.raises(ValueError, match="megadepth must come with megadepth_scenes"):
        real_pairs(RealPairSettings(megadepth=Path("x")))


def test_a_missing_list_is_named():
    with pytest.raises(FileNotFoundError, match=r"got nowhere\.json: no file"):
        real_pairs(RealPairSettings(homographies=(Path("nowhere.json"),)))


def test_homography_lists_fill_batches_with_labels():
    listed = RealPairSettings(
        share=1.0, homographies=(shared("data/homography/oxford/pairs.json"),)
    )
    settings = PairSettings(sizes=((128, 160),), batch=2, real=listed)
    batch = PairBatches([], settings, 3.5, 0, real_pairs(listed))[0]
    assert batch.image0.shape == (2, 1, 128, 160)
    assert (batch.partner >= 0).float().mean() > 0.3


def test_index_files_of_scannet_and_megadepth_give_a_reader_per_pair():
    folder = shared("data/pose/scannet_test_1500")
    scannet = RealPairSettings(
        scannet=folder,
        scannet_pairs=folder / "test.npz",
        scannet_intrinsics=folder / "intrinsics.npz",
    )
    assert len(real_pairs(scannet)) == 1500
    scenes = tuple(sorted(shared("data/pose/megadepth_test_1500").glob("*.npz")))
    assert len(real_pairs(RealPairSettings(megadepth=folder, megadepth_scenes=scenes))) == 1500


def test_a_converted_set_gives_a_reader_per_pair(tmp_path):
    convert(draw_plan(tmp_path), tmp_path / "set.h5")
    readers = real_pairs(RealPairSettings(converted=(tmp_path / "set.h5",), long_side=24))
    assert len(readers) == 3
    view = readers[0]()
    assert view.image0.shape == (3, 18, 24)
    assert torch.isfinite(view.warp_0to1).all()
    assert view.depth0.max() == pytest.approx(2, abs=0.01)
