import numpy as np
import pytest
import torch

from attention_ops import softmax_attention
from tests.shared_data import shared


@pytest.mark.parametrize("case", ["nomask", "mask"])
def test_agrees_with_the_official_full_attention_and_its_gradients(case):
    path = shared(f"reference/attention/FullAttention_{case}.npz")
    data = {name: torch.from_numpy(array) for name, array in np.load(path).items()}
    q, k, v = (data[name].requires_grad_() for name in "qkv")
    message = softmax_attention(q, k, v, data.get("kv_mask"))
    if case == "mask":  # rows of masked queries are undefined there
        message = message.masked_fill(~data["q_mask"][:, :, None, None], 0)
        data["out"] = data["out"].masked_fill(~data["q_mask"][:, :, None, None], 0)
    torch.testing.assert_close(message, data["out"], rtol=1e-5, atol=1e-6)
    (message * data["w"]).sum().backward()
    for name, leaf in zip("qkv", (q, k, v), strict=True):
        want = data[f"grad/{name}"]
        if want.isfinite().all():  # the official masked case has NaN gradients
            torch.testing.assert_close(leaf.grad, want, rtol=1e-5, atol=1e-6)


def test_a_source_without_valid_keys_gives_zeros_and_zero_gradients(generator):
    q, k, v = (torch.randn(2, 5, 2, 4, generator=generator).requires_grad_() for _ in range(3))
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1] = False
    message = softmax_attention(q, k, v, mask)
    message.square().sum().backward()
    assert (message[1] == 0).all()
    assert (message[0] != 0).all()
    assert all((x.grad[1] == 0).all() and x.grad[0].isfinite().all() for x in (q, k, v))


def test_nothing_under_the_mask_is_read(generator):
    q, k, v = (torch.randn(1, 6, 2, 4, generator=generator) for _ in range(3))
    mask = torch.tensor([[True, True, False, True, False, True]])
    want = softmax_attention(q, k[:, mask[0]], v[:, mask[0]])
    k[:, ~mask[0]], v[:, ~mask[0]] = torch.nan, torch.inf
    torch.testing.assert_close(softmax_attention(q, k, v, mask), want)
