import numpy as np
import pytest
import torch

from attention_ops import linear_attention
from tests.shared_data import shared


@pytest.mark.parametrize("case", ["nomask", "mask"])
def test_agrees_with_the_official_linear_attention_and_its_gradients(case):
    path = shared(f"reference/attention/LinearAttention_{case}.npz")
    data = {name: torch.from_numpy(array) for name, array in np.load(path).items()}
    q, k, v = (data[name].requires_grad_() for name in "qkv")
    message = linear_attention(q, k, v, data.get("kv_mask"))
    if case == "mask":
        message = message.masked_fill(~data["q_mask"][:, :, None, None], 0)
    torch.testing.assert_close(message, data["out"], rtol=1e-5, atol=1e-6)
    (message * data["w"]).sum().backward()
    for name, leaf in zip("qkv", (q, k, v), strict=True):
        torch.testing.assert_close(leaf.grad, data[f"grad/{name}"], rtol=1e-5, atol=1e-6)


def test_one_key_gives_its_value_to_everybody(generator):
    query = torch.randn(1, 4, 1, 3, generator=generator)
    value = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)
    message = linear_attention(query, torch.zeros(1, 1, 1, 3), value)
    torch.testing.assert_close(message, value.expand(1, 4, 1, 3), rtol=1e-4, atol=1e-5)


def test_sums_are_float32_for_half_precision_input():
    # 4096 keys of phi = 1 sum to 4096, and the values to 0.0625 * 4096: bfloat16 sums stop at 256.
    key = torch.zeros(1, 4096, 1, 1, dtype=torch.bfloat16)
    value = torch.full_like(key, 0.0625)
    message = linear_attention(key[:, :1], key, value)
    assert message.dtype == torch.bfloat16
    assert message.item() == 0.0625


def test_a_source_without_valid_keys_gives_zeros(generator):
    tokens = torch.randn(1, 3, 1, 2, generator=generator)
    mask = torch.zeros(1, 3, dtype=torch.bool)
    assert (linear_attention(tokens, tokens, tokens, mask) == 0).all()
