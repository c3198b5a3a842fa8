import threading

import numpy as np
import pytest
import torch

from matching import __main__ as command
from matching.predictor import load_predictor
from matching.soak import growth_percent, made_up_pair
from tests.matching.patch_matcher import PatchMatcher


def test_growth_by_hand():
    assert growth_percent([100] * 10 + [900] + [110] * 9) == pytest.approx(10)
    assert growth_percent([100] * 30) == 0


def test_the_command_tells_memory_and_fails_on_growth(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("matching.predictor.load_checkpoint", lambda _: (PatchMatcher(), None, {}))
    (tmp_path / "w.safetensors").touch()
    words = [
        "soak",
        "--pairs",
        "30",
        "--warm-up",
        "10",
        "--weights",
        str(tmp_path / "w.safetensors"),
    ]
    assert command.main([*words, "--limit", "50"]) == 0
    assert capsys.readouterr().out.startswith("30 pairs, ")
    sizes = iter(range(100, 1000))
    monkeypatch.setattr("matching.soak.resident_bytes", lambda: next(sizes))
    assert command.main(words) == 2
    assert "error: wanted growth of at most 2.0 %" in capsys.readouterr().err


def test_eight_threads_get_the_answers_of_one():
    predictor = load_predictor("small", dtype=torch.float32)
    generator = np.random.default_rng(0)
    pairs = [made_up_pair(generator, size) for size in ((96, 128), (112, 96), (90, 125))]
    want = [predictor.match(*pair) for pair in pairs]
    got = [[None] * len(pairs) for _ in range(8)]

    def work(thread):
        # Each thread begins elsewhere, so that different pairs run at once.
        for step in range(len(pairs)):
            n = (thread + step) % len(pairs)
            got[thread][n] = predictor.match(*pairs[n])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, want)) > 100
    for answers in got:
        for one, other in zip(answers, want, strict=True):
            for field in ("kpts0", "kpts1", "confidence"):
                np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
