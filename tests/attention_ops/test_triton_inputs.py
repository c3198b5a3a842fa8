"""What the Triton backend hands to its kernels: plain tensors, under the guard of their device."""

from contextlib import contextmanager

import pytest
import torch

from attention_ops import triton_backend
from tests.attention_ops.cuda_emulation import once
from tests.attention_ops.op_cases import random_inputs

pytestmark = once
KERNEL_DTYPES = {torch.float16, torch.float32, torch.int32, torch.uint8}


class Recorder:
    """Stands in for a file of kernels: keeps what it is called with, and gives `results`."""

    def __init__(self, monkeypatch):
        self.calls, self.results, self.guarded = [], (), []
        monkeypatch.setattr(triton_backend, "_kernel", lambda _: self)
        monkeypatch.setattr(triton_backend, "serves", lambda *_: True)
        monkeypatch.setattr(torch.cuda, "device_of", self._guard)

    @contextmanager
    def _guard(self, tensor):
        self.guarded.append(tensor)
        yield
        self.guarded.pop()

    def run(self, *arguments):
        self.calls.append((list(self.guarded), arguments))
        return self.results


def spread(x):
    """The same numbers behind other strides, as in a part of a map."""
    return x.new_zeros(*x.shape, 2).select(-1, 0).copy_(x)


def level_inputs(level, generator):
    """Query, key, value, of a fine level the parents and their scores, and the mask."""
    inputs = random_inputs((2, 3, 4, 4, 6, 16, 3, 2), generator, torch.float16, masked=True)
    tensors, mask = [inputs.query, inputs.key, inputs.value], inputs.key_mask
    if level == "coarse":
        tensors, mask = [x.flatten(2, 3) for x in tensors], mask.flatten(1)
    else:
        tensors += [inputs.parent_index, inputs.parent_score]
    return *tensors, mask


@pytest.mark.parametrize("level", ["fine", "coarse"])
def test_kernels_get_plain_tensors_on_their_device_whatever_the_layout(
    level, monkeypatch, generator
):
    plain = level_inputs(level, generator)
    query, *others = (spread(x) for x in plain)
    query = query.transpose(1, 2).contiguous().transpose(1, 2)  # channels of the heads last
    rows = query.shape[:-1]
    lse, score = spread(torch.zeros(rows)), spread(torch.zeros(*rows, 2))
    index = spread(torch.zeros(*rows, 2, dtype=torch.int32))
    recorder = Recorder(monkeypatch)
    recorder.results = (query, lse, index, score)
    getattr(triton_backend, f"{level}_forward")(query, *others, 2, 0.25, "A")
    recorder.results = (query, query, query, score)[: 4 if level == "fine" else 3]
    saved = (query, lse, index)
    getattr(triton_backend, f"{level}_backward")(
        query.float(), score.double(), query, *others, *saved, 0.25, "A"
    )
    (forward_guard, forward), (backward_guard, backward) = recorder.calls
    assert forward_guard[0] is query
    assert backward_guard[0] is query
    assert not recorder.guarded
    for given in (forward, backward):
        tensors = [x for x in given if isinstance(x, torch.Tensor)]
        assert all(x.is_contiguous() for x in tensors)
        assert {x.dtype for x in tensors} == KERNEL_DTYPES - (
            {torch.int32, torch.float32} if level == "coarse" and given is forward else set()
        )
    for got, want in zip(forward, plain, strict=False):
        want = want.view(torch.uint8) if want.dtype == torch.bool else want
        torch.testing.assert_close(got, want.to(got.dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("level", ["fine", "coarse"])
def test_selections_longer_than_the_kernels_hold_go_to_the_portable_backend(
    level, monkeypatch, generator
):
    inputs = level_inputs(level, generator)
    recorder = Recorder(monkeypatch)
    monkeypatch.setattr(triton_backend.launch, "MAX_TOPK", 1)
    message = getattr(triton_backend, f"{level}_forward")(*inputs, 2, 0.25, "A")[0]
    assert not recorder.calls
    assert message.shape == inputs[0].shape


@pytest.mark.parametrize(("name", "limit"), [("MAX_PROGRAMS", 12), ("MAX_SLAB", 6 * 4 * 16)])
def test_slabs_past_the_grid_or_int32_go_to_the_portable_backend(
    name, limit, monkeypatch, generator
):
    inputs = level_inputs("fine", generator)  # 36 parents with keys, 384 numbers a slab
    recorder = Recorder(monkeypatch)
    monkeypatch.setattr(triton_backend.launch, name, limit)
    triton_backend.fine_forward(*inputs, 2, 0.25, "A")
    assert not recorder.calls
