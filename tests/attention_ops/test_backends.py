import importlib.util
import sys

import pytest
import torch

from attention_ops import backends as backend_table
from attention_ops import coarse_attention, current_backend, use_backend


def test_pure_pytorch_backends_are_always_ready():
    states = backend_table()
    assert set(states) == {"reference", "portable", "native"}
    assert states["reference"] == states["portable"] == "ready"
    assert states["native"]  # "ready", or a reason in words


def test_forced_backend_serves_inside_the_block_only():
    before = current_backend()
    with use_backend("reference"):
        assert current_backend() == "reference"
        with use_backend("portable"):
            assert current_backend() == "portable"
        assert current_backend() == "reference"
    assert current_backend() == before


def test_unknown_backend_is_refused_with_the_choices():
    with (
        pytest.raises(ValueError, match="one of reference, portable, native, got 'cuda'"),
        use_backend("cuda"),
    ):
        pass


def test_missing_backend_is_refused_with_its_reason_and_the_remedy(monkeypatch):
    module = sys.modules["attention_ops.backends"]
    monkeypatch.setattr(module.native, "LOAD_ERROR", "no compiler found")
    with (
        pytest.raises(RuntimeError, match=r"no compiler found.*python -m attention_ops build"),
        use_backend("native"),
    ):
        pass
    tokens = torch.ones(1, 1, 2, 2)
    assert coarse_attention(tokens, tokens, tokens, topk=1).message.shape == tokens.shape


def test_environment_variable_forces_a_backend_and_a_wrong_one_is_refused(monkeypatch):
    def fresh_import():
        path = sys.modules["attention_ops.backends"].__file__
        spec = importlib.util.spec_from_file_location("fresh_backends", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    monkeypatch.setenv("QUADVIEW_BACKEND", "reference")
    assert fresh_import().current_backend() == "reference"
    monkeypatch.setenv("QUADVIEW_BACKEND", "fast")
    with pytest.raises(ValueError, match=r"QUADVIEW_BACKEND must be one of .*, got 'fast'"):
        fresh_import()
