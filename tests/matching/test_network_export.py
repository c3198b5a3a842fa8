import os
from pathlib import Path

import numpy as np
import pytest
import torch

from data_scripts.export_options import parse_size
from data_scripts.exported_file import NOTES
from matching import __main__ as command
from matching.exported_network import FixedCountMatcher
from matching.network_export import NetworkCommand, traced
from matching.predictor import load_predictor
from tests.command_checks import assert_told_in_one_line
from tests.matching.test_exported_network import images, network

pytestmark = pytest.mark.skipif(
    "QUADVIEW_BACKEND" in os.environ, reason="no backend stands behind an exported network"
)
SIZES = [(128, 160), (192, 256)]


def real_pair(size):
    """The motorcycle pair inside scikit-image, grey (H, W) uint8 at that size."""
    cv2, data = pytest.importorskip("cv2"), pytest.importorskip("skimage.data")
    left, right, _ = data.stereo_motorcycle()
    H, W = size
    return [
        cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (W, H), interpolation=cv2.INTER_AREA)
        for image in (left, right)
    ]


def session(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options)


def as_matches(answer):
    """Rows of key points and confidence of the first pair, by key point of image 0."""
    kpts0, kpts1, confidence, count = (np.asarray(x)[0] for x in answer)
    rows = np.column_stack([kpts0, kpts1, confidence])
    assert not rows[count:].any()
    return rows[:count][np.lexsort(rows[:count, :2].T)]


@pytest.mark.slow
def test_onnxruntime_and_a_program_give_the_matches_of_the_network(
    tmp_path, monkeypatch, generator
):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    matcher = network(kinds=("cross",))
    monkeypatch.setattr("matching.checkpoint.load_checkpoint", lambda _: (matcher, None, {}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").touch()
    words = ["--onnx", "m.onnx", "--torch", "m.pt2", "--size", "64x96", "--max-matches", "96"]
    assert command.main(["export", *words, "--weights", "w.safetensors"]) == 0
    pair = images(generator, batch=1)
    with torch.no_grad():
        want = as_matches(FixedCountMatcher(matcher, 96)(*pair))
    given = {f"image{n}": image.numpy() for n, image in enumerate(pair)}
    network_file = session("m.onnx")
    assert len(want) > 10
    np.testing.assert_allclose(as_matches(network_file.run(None, given)), want, atol=1e-4, rtol=0)
    notes = network_file.get_modelmeta().custom_metadata_map
    assert notes["image0"] == "(B, 1, 64, 96) float32 grey in [0, 1]"
    assert "pixels of image0" in notes["keypoints0"]
    with torch.no_grad():
        got = as_matches(torch.export.load("m.pt2").module()(*pair))
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
def test_onnxruntime_gives_the_matches_of_the_predictor(tmp_path, size):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    text = f"{size[0]}x{size[1]}"
    assert command.main(["export", "--onnx", str(tmp_path / "m.onnx"), "--size", text]) == 0
    pair = real_pair(size)
    found = load_predictor("small", dtype=torch.float32, long_side=None).match(*pair)
    rows = np.column_stack([found.kpts0, found.kpts1, found.confidence])
    tensors = [image[None, None].astype(np.float32) / 255 for image in pair]
    network_file = session(tmp_path / "m.onnx")
    got = as_matches(network_file.run(None, dict(zip(("image0", "image1"), tensors, strict=True))))
    assert len(rows) > 100
    np.testing.assert_allclose(got, rows[np.lexsort(rows[:, :2].T)], atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.long
def test_a_saved_program_gives_the_matches_of_the_network_for_any_number_of_pairs(
    tmp_path, generator
):
    matcher = network()
    program = traced(matcher, ((64, 96), (64, 96)), 96, batch=0)
    assert not any("quadview" in str(node.target) for node in program.graph.nodes)
    torch.export.save(program, tmp_path / "m.pt2")
    read = torch.export.load(tmp_path / "m.pt2").module()
    for batch in (1, 3):
        pair = images(generator, batch=batch)
        with torch.no_grad():
            want = matcher(*pair)
            kpts0, _, confidence, count = read(*pair)
        for number in range(batch):
            mine = want.confidence[want.pair == number]
            n = int(count[number])
            assert len(mine) - 5 <= n <= len(mine)  # some end outside of the image
            assert n > 10
            wanted = {tuple(row) for row in want.kpts0[want.pair == number].tolist()}
            assert {tuple(row) for row in kpts0[number, :n].tolist()} <= wanted
            torch.testing.assert_close(confidence[number, 0], mine[0], atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.long
def test_the_command_writes_a_program_with_masks_and_notes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("matching.checkpoint.load_checkpoint", lambda _: (network(), None, {}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").touch()
    words = ["--torch", "m.pt2", "--size", "32x48", "--masks", "--weights", "w.safetensors"]
    assert command.main(["export", *words]) == 0
    assert "m.pt2: images of 32 x 48 px" in capsys.readouterr().out
    notes = {NOTES: ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=notes)
    assert '"mask1": "(B, 32, 48) bool, True = use"' in notes[NOTES]
    pair = torch.rand(2, 1, 1, 32, 48)
    masks = torch.ones(2, 1, 32, 48, dtype=torch.bool)
    assert program.module()(*pair, *masks)[0].shape == (1, 24, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--onnx", "m.pt"], "m.pt: wanted a file name that ends in .onnx"),
        (["--torch", "gone/m.pt2"], "gone/m.pt2: there is no folder gone"),
        (["--torch", "m.pt2", "--weights", "big"], "big: no such weights"),
        (["--torch", "m.pt2", "--size", "100x100"], "a size must be of multiples of 16 px"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert_told_in_one_line(command.main, ["export", *words], said, capsys)


def test_without_the_packages_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("data_scripts.exported_file.find_spec", lambda _: None)
    assert command.main(["export", "--onnx", "m.onnx"]) == 2
    assert "install it with pip install 'quadview[onnx]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--size", "480"], ["--size", "0x16"], ["--max-matches", "0"], ["--batch", "-1"]]
)
def test_wrong_words_exit_with_code_2(words):
    with pytest.raises(SystemExit) as stopped:
        command.main(["export", "--torch", "m.pt2", *words])
    assert stopped.value.code == 2


def test_sizes_and_files():
    assert parse_size("480x640") == parse_size("480X640") == (480, 640)
    with pytest.raises(ValueError, match="got neither"):
        NetworkCommand()
    for more in ({"batch": 0}, {"masks": True}):
        with pytest.raises(ValueError, match="--onnx wants"):
            NetworkCommand(onnx=Path("m.onnx"), **more)
