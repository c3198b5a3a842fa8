import cv2
import numpy as np
import pytest
import torch

from attention_ops.position import sine_encoding
from matching import __main__ as command
from matching.model import Features
from matching.retrieval import gem_descriptor, nearest_images, recall


def features(cells, height, width, mask=None):
    """Features of an image whose cells (L, C) are given, with the position encoding on them."""
    maps = cells.T.reshape(1, -1, height, width)
    encoding = sine_encoding(height, width, maps.shape[1], maps.device, maps.dtype, corrected=True)
    return Features(maps + encoding, maps, mask)


def test_descriptor_by_hand():
    # Two cells along channels 0 and 1 (of 4), opposite in channel 1: unit vectors (1,0,0,0), (0,-1,0,0).
    cells = torch.tensor([[2.0, 0, 0, 0], [0, -5.0, 0, 0]])
    got = gem_descriptor(features(cells, 1, 2), corrected_encoding=True)
    # Each of the two parts that are not 0 has the generalised mean (1/2) ** (1/3), so both are 1/sqrt(2).
    want = np.zeros(8)
    want[[0, 5]] = 0.5**0.5
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_descriptor_knows_neither_order_nor_masked_cells(generator):
    cells = torch.randn(12, 8, generator=generator)
    whole = gem_descriptor(features(cells, 3, 4), corrected_encoding=True)
    shuffled = gem_descriptor(features(cells[torch.randperm(12)], 4, 3), corrected_encoding=True)
    np.testing.assert_allclose(whole, shuffled, atol=1e-5)
    more = torch.cat([cells, 100 * torch.randn(8, 8, generator=generator)])
    mask = torch.arange(20).reshape(1, 5, 4) < 12
    masked = gem_descriptor(features(more, 5, 4, mask), corrected_encoding=True)
    np.testing.assert_allclose(whole, masked, atol=1e-4)
    nothing = gem_descriptor(features(cells, 3, 4, torch.zeros(1, 3, 4, dtype=torch.bool)), True)
    assert (nothing == 0).all()


@pytest.mark.parametrize("count", [1, 3, 50])
def test_nearest_images_are_those_of_the_whole_matrix(monkeypatch, count):
    monkeypatch.setattr("matching.retrieval.CHUNK", 7)
    vectors = np.random.default_rng(0).normal(size=(23, 5)).astype(np.float32)
    vectors[4] = 0  # has no descriptor
    got = nearest_images(vectors, count)
    real = np.delete(np.arange(23), 4)
    centred = vectors - vectors[real].mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    for i in range(23):
        others = np.setdiff1d(real, [i])
        want = others[np.argsort(-(unit[others] @ unit[i]), kind="stable")][:count]
        if i == 4:
            want = want[:0]
        assert got[i][got[i] >= 0].tolist() == want.tolist()


def test_equally_near_images_come_in_their_order():
    vectors = np.array([[1.0, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    assert nearest_images(vectors, 2).tolist()[1:] == [[2, 3], [1, 3], [1, 2]]


def test_few_images():
    assert nearest_images(np.zeros((0, 0), np.float32), 3).shape == (0, 0)
    assert nearest_images(np.ones((1, 4), np.float32), 3).shape == (1, 0)
    with pytest.raises(ValueError, match="--retrieve must be 1 or more"):
        nearest_images(np.ones((2, 4), np.float32), 0)


def test_recall_by_hand():
    neighbours = np.array([[1, 2], [2, 0], [3, 1], [0, 1]])
    truth = {(0, 2), (1, 2), (0, 1)}
    # At 1: images 0 and 1 have a true one first, image 2 (3) has not; pairs 0-1 and 1-2 of three.
    assert recall(neighbours, truth, 1) == (2 / 3, 2 / 3)
    assert recall(neighbours, truth, 2) == (1.0, 1.0)
    assert np.isnan(recall(neighbours, set(), 1)).all()


def test_the_command_prints_recall_of_a_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for place in range(3):
        scene = cv2.GaussianBlur(
            rng.integers(0, 256, (120, 160), dtype=np.uint8), (0, 0), 1 + place
        )
        for view in range(2):
            cv2.imwrite(f"images/{place}{view}.png", scene[8 * view : 8 * view + 96, :128])
    (tmp_path / "images/pairs.txt").write_text("00.png 01.png\n10.png 11.png\n20.png 21.png\n")
    words = ["recall", "--images", "images", "--pairs", "images/pairs.txt", "--at", "1", "5"]
    assert command.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "images/pairs.txt: 3 true pairs of 6 images" in lines[1]
    assert "recall@1 100.0 %" in lines[1]
    assert "recall@5 100.0 % (pairs 100.0 %)" in lines[1]
    assert command.main([*words[:4], "none.txt"]) == 2
    assert capsys.readouterr().err.startswith("error: none.txt: there is no such list")
