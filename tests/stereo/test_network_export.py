from dataclasses import replace

import numpy as np
import pytest
import torch

from data_scripts.export_options import parse_size
from data_scripts.exported_file import NOTES
from stereo import __main__ as command
from stereo.model import build_stereo
from stereo.network_export import ExportCommand, traced
from stereo.predictor import load_predictor
from tests.command_checks import assert_told_in_one_line
from tests.stereo.tiny import TINY

SIZES = [(64, 96), (96, 160)]


def pair(size, shift=6):
    """Smooth noise (H, W, 3) uint8 whose right image lies `shift` px further right."""
    cv2 = pytest.importorskip("cv2")
    H, W = size
    noise = np.random.default_rng(3).integers(0, 256, (H // 4, W // 4 + 10, 3), dtype=np.uint8)
    scene = cv2.resize(noise, (W + 40, H), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(scene[:, start : start + W]) for start in (0, shift)]


def tensors(images):
    return [image.transpose(2, 0, 1)[None].astype(np.float32) / 255 for image in images]


@pytest.mark.long
@pytest.mark.slow
def test_onnxruntime_gives_the_maps_of_the_network(tmp_path, monkeypatch):
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = build_stereo(TINY).eval()
    monkeypatch.setattr("stereo.checkpoint.load_checkpoint", lambda _: (network, None, {}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").touch()
    words = ["--onnx", "s.onnx", "--size", "32x48", "--weights", "w.safetensors"]
    assert command.main(["export", *words]) == 0
    given = [torch.from_numpy(image) for image in tensors(pair((32, 48)))]
    with torch.no_grad():
        want = network(*given)
    session = onnxruntime.InferenceSession("s.onnx")
    got = session.run(None, {"left": given[0].numpy(), "right": given[1].numpy()})
    for maps, wanted in zip(got, (want.disparity, want.occlusion, want.confidence), strict=True):
        np.testing.assert_allclose(maps, wanted.numpy(), atol=1e-4, rtol=0)
    assert "pixels of left" in session.get_modelmeta().custom_metadata_map["disparity"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
def test_onnxruntime_gives_the_disparity_of_the_predictor(tmp_path, size):
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "s.onnx"
    assert command.main(["export", "--onnx", str(path), "--size", f"{size[0]}x{size[1]}"]) == 0
    images = pair(size)
    want = load_predictor("small", dtype=torch.float32).predict(*images)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    given = dict(zip(("left", "right"), tensors(images), strict=True))
    disparity, occlusion, confidence = (maps[0] for maps in session.run(None, given))
    np.testing.assert_allclose(occlusion, want.occlusion, atol=1e-4, rtol=0)
    np.testing.assert_allclose(confidence, want.confidence, atol=1e-4, rtol=0)
    # Where two neighbours' disparities explain a pixel equally well, rounding chooses between them.
    apart = np.abs(disparity - want.disparity) > 1e-4
    assert apart.mean() < 1e-3


@pytest.mark.slow
def test_a_saved_program_gives_the_maps_of_the_network(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    config = replace(
        TINY,
        rows=replace(TINY.rows, kinds=("cross",)),
        refine=replace(TINY.refine, iterations=1),
    )
    network = build_stereo(config).eval()
    monkeypatch.setattr("stereo.checkpoint.load_checkpoint", lambda _: (network, None, {}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").touch()
    words = ["--torch", "s.pt2", "--size", "32x64", "--batch", "2", "--weights", "w.safetensors"]
    assert command.main(["export", *words]) == 0
    assert "s.pt2: 2 pairs of 32 x 64 px" in capsys.readouterr().out
    notes = {NOTES: ""}
    program = torch.export.load("s.pt2", extra_files=notes)
    assert "(2, 32, 64) float32 in pixels of left" in notes[NOTES]
    assert not any("quadview" in str(node.target) for node in program.graph.nodes)
    left, right = torch.rand(2, 2, 3, 32, 64)
    with torch.no_grad():
        want = network(left, right)
        got = program.module()(left, right)
    wanted = (want.disparity, want.occlusion, want.confidence)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--onnx", "s.pt"], "s.pt: wanted a file name that ends in .onnx"),
        (["--torch", "s.pt2", "--weights", "big"], "big: no such weights"),
        (["--torch", "s.pt2", "--size", "100x100"], "a size must be of multiples of 16 px"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert_told_in_one_line(command.main, ["export", *words], said, capsys)


@pytest.mark.parametrize("words", [["--size", "480"], ["--size", "0x16"], ["--batch", "0"]])
def test_wrong_words_exit_with_code_2(words):
    with pytest.raises(SystemExit) as stopped:
        command.main(["export", "--torch", "s.pt2", *words])
    assert stopped.value.code == 2


def test_a_size_and_a_file_are_needed():
    assert parse_size("480x640") == (480, 640)
    with pytest.raises(ValueError, match="got neither"):
        ExportCommand()
    with pytest.raises(ValueError, match="multiples of 16"):
        traced(build_stereo(TINY), (32, 40))
