import logging

import cv2
import numpy as np
import pytest

from data_scripts.photos import PhotoFolder


def write(path, size, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))


def test_images_are_found_in_all_subfolders_in_order_and_shrunk(tmp_path):
    write(tmp_path / "b" / "deep" / "two.png", (100, 400), value=200)
    write(tmp_path / "a" / "one.JPG", (300, 200))
    (tmp_path / "notes.txt").write_text("no image")
    photos = PhotoFolder(tmp_path, short_side=50)
    assert [photo.shape for photo in photos] == [(75, 50, 3), (50, 200, 3)]
    assert [int(photo.mean()) for photo in photos] == [100, 200]


def test_small_images_are_not_enlarged(tmp_path):
    write(tmp_path / "small.png", (40, 60))
    assert PhotoFolder(tmp_path, short_side=512)[0].shape == (40, 60, 3)


def test_colours_come_in_rgb_order(tmp_path):
    cv2.imwrite(str(tmp_path / "red.png"), np.full((40, 40, 3), (0, 0, 255), np.uint8))
    assert PhotoFolder(tmp_path)[0][0, 0].tolist() == [255, 0, 0]


def test_unreadable_files_are_named_in_one_warning(tmp_path, caplog):
    write(tmp_path / "good.png", (50, 50))
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        photos = PhotoFolder(tmp_path)
    assert len(photos) == 1
    assert len(caplog.records) == 1
    assert "empty.jpg" in caplog.text
    assert "torn.png" in caplog.text


def test_of_too_many_files_an_even_selection_is_read(tmp_path):
    for number in range(10):
        write(tmp_path / f"{number}.png", (40, 40), value=10 * number)
    photos = PhotoFolder(tmp_path, limit=5)
    assert [int(photo[0, 0, 0]) for photo in photos] == [0, 20, 40, 60, 80]


def test_a_folder_without_readable_images_is_an_error(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match="1 image files and none readable"):
        PhotoFolder(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PhotoFolder(tmp_path / "nowhere")
