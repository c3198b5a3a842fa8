import importlib.util
import math
import sys
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from attention_ops import backends as backend_table
from attention_ops import coarse_attention, current_backend, use_backend
from attention_ops.precision import chosen_device
from attention_ops.sampling import sample_weighted
from attention_ops.tree_ops import pyramid

door = sys.modules["attention_ops.backends"]


@pytest.fixture
def gpu_backends(monkeypatch):
    """Both GPU backends as if they were there; what they serve is in their `fan_outs`."""
    kinds = {
        name: SimpleNamespace(DTYPES=(torch.float32, torch.float16), fan_outs=(2, 4), name=name)
        for name in ("triton", "cuda")
    }
    for kind in kinds.values():
        kind.serves = lambda query, _index=None, kind=kind: (
            query.is_cuda and query.dtype in kind.DTYPES and query.shape[-2] in kind.fan_outs
        )
    monkeypatch.setattr(door, "_gpu_module", kinds.get)
    monkeypatch.setattr(door, "_missing_on_gpu", lambda _name: None)
    monkeypatch.setattr(door, "_forced", None)
    return kinds


def on_cuda(*shape, dtype=torch.float32):
    """A tensor that says it is on a GPU; there is nothing behind it."""
    with FakeTensorMode():
        return torch.empty(*shape, dtype=dtype, device="cuda")


def test_pure_pytorch_backends_are_always_ready():
    states = backend_table()
    assert set(states) == {"reference", "portable", "native", "triton", "cuda"}
    assert states["reference"] == states["portable"] == "ready"
    assert all(states.values())  # "ready", or a reason in words


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
        pytest.raises(ValueError, match=r"one of reference, .*, cuda, got 'rocm'"),
        use_backend("rocm"),
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
    wrong = fresh_import()  # the commands that tell which backends there are still run
    with pytest.raises(ValueError, match=r"QUADVIEW_BACKEND must be one of .*, got 'fast'"):
        wrong.current_backend()


def test_a_forced_backend_that_is_not_there_is_told_with_the_device(monkeypatch):
    monkeypatch.setattr(door, "_forced", "portable")
    assert chosen_device("cpu").type == "cpu"
    monkeypatch.setattr(door, "_forced", "cuda")
    monkeypatch.setattr(door, "_missing", {"cuda": "no such device"}.get)
    with pytest.raises(ValueError, match="backend 'cuda' is not there"):
        chosen_device("cpu")
    monkeypatch.setattr(door, "_missing", {}.get)
    with pytest.raises(
        ValueError, match="backend 'cuda' takes tensors on CUDA, got the device 'cpu'"
    ):
        chosen_device("cpu")


def test_a_cuda_tensor_goes_to_the_first_of_the_preferred_that_serves_it(gpu_backends):
    fine = on_cuda(1, 2, 3, 4, 32)
    assert door.implementation(fine) is gpu_backends["triton"]
    gpu_backends["triton"].fan_outs = (2,)
    assert door.implementation(fine) is gpu_backends["cuda"]
    gpu_backends["cuda"].fan_outs = (2,)
    assert door.chosen_backend(fine) == "portable"
    assert door.chosen_backend(on_cuda(1, 2, 3, 4, 32, dtype=torch.float64)) == "portable"


def test_preference_is_data_by_dtype_and_number_of_queries(gpu_backends, monkeypatch):
    table = (
        door.Preference(torch.float32, 24, ("cuda", "triton")),
        door.Preference(torch.float32, math.inf, ("triton", "cuda")),
    )
    monkeypatch.setattr(door, "PREFERENCES", table)
    assert door.chosen_backend(on_cuda(1, 2, 3, 4, 32)) == "cuda"  # 1 * 2 * 3 * 4 = 24 queries
    assert door.chosen_backend(on_cuda(1, 5, 5, 4, 32)) == "triton"
    assert door.chosen_backend(on_cuda(1, 2, 3, 4, 32, dtype=torch.float16)) == "portable"


@pytest.mark.parametrize("name", ["triton", "cuda"])
def test_forced_gpu_backend_refuses_what_it_cannot_take_in_one_line(gpu_backends, name):
    tokens = torch.ones(1, 1, 2, 2)
    words = rf"'{name}' takes float32 and float16 on CUDA.*got torch.float32 .* on cpu; use"
    with use_backend(name):
        with pytest.raises(RuntimeError, match=words):
            coarse_attention(tokens, tokens, tokens, topk=1)
        with pytest.raises(RuntimeError, match=rf"'{name}' takes tensors on CUDA, got"):
            pyramid(torch.ones(1, 2, 2, 4), None, 1, 1, (2, 2))
        with pytest.raises(RuntimeError, match=rf"'{name}' takes tensors on CUDA, got"):
            sample_weighted(
                torch.ones(1, 4, 1, 2),
                [(2, 2)],
                torch.ones(1, 1, 1, 1, 1, 2),
                torch.ones(1, 1, 1, 1, 1),
            )


def test_triton_is_refused_where_it_cannot_build_its_launcher(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(door.shutil, "which", lambda _name: None)
    assert "Triton needs a C compiler for its launcher" in door._no_launcher()
    monkeypatch.setenv("CC", "tcc")
    monkeypatch.setattr(door.sysconfig, "get_path", lambda *_: "/nowhere")
    assert door._no_launcher() == "Triton needs /nowhere/Python.h: install Python's headers"


def test_other_ops_of_a_cuda_tensor_follow_triton_and_its_absence(gpu_backends, monkeypatch):
    assert door.family(on_cuda(1, 2, 3, 4)) == "triton"
    monkeypatch.setattr(door, "_missing_on_gpu", lambda _name: "not here")
    assert door.family(on_cuda(1, 2, 3, 4)) == "portable"
