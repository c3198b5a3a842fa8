import cv2
import numpy as np
import pytest

from stereo.pair_sources import PairReader, open_source

GREYS = (10, 60, 110, 160, 210)


@pytest.fixture(params=["folders", "videos"])
def source(request, tmp_path):
    """Five pairs of evenly grey pictures, the right ones lighter by 20; videos have a sixth left frame."""
    for side, lighter in (("left", 0), ("right", 20)):
        frames = [np.full((32, 32, 3), grey + lighter, np.uint8) for grey in GREYS]
        if request.param == "folders":
            (tmp_path / side).mkdir()
            for number, frame in enumerate(frames):
                cv2.imwrite(str(tmp_path / side / f"{number:08d}.png"), frame)
            continue
        video = cv2.VideoWriter(
            str(tmp_path / f"{side}.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 32)
        )
        for frame in [*frames, *frames[:1]] if side == "left" else frames:
            video.write(frame)
        video.release()
    suffix = "" if request.param == "folders" else ".avi"
    return open_source(tmp_path / f"left{suffix}", tmp_path / f"right{suffix}")


def greys(pair):
    return [round(float(np.mean(image))) for image in (pair.left, pair.right)]


def test_names_are_those_of_the_pairs(source):
    assert list(source.names()) == [pair.name for pair in source.pairs(())]


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (1, 4), (3, 3, 0, 2, 1)])
def test_a_pair_that_is_asked_for_by_name_is_that_pair(source, order):
    reader = PairReader(source)
    for number in order:
        pair = reader.read(f"{number:08d}")
        assert pair.name == f"{number:08d}"
        assert greys(pair) == pytest.approx([GREYS[number], GREYS[number] + 20], abs=3)


def test_the_frame_that_only_one_video_has_can_be_asked_for_in_any_order(source):
    names = list(source.names())
    reader = PairReader(source)
    for name in (names[-1], names[0], names[-1]):
        assert reader.read(name).error == {pair.name: pair.error for pair in source.pairs(())}[name]


def test_a_pair_that_is_gone_is_told(source):
    with pytest.raises(ValueError, match="wanted the pair 00000009, which is gone"):
        PairReader(source).read("00000009")


def test_folders_without_a_common_name_are_told(tmp_path):
    for name in ("left/a.png", "right/b.png"):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"wanted images with the names of those in .*, as a\.png"):
        open_source(tmp_path / "left", tmp_path / "right")
