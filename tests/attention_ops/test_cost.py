import pytest
import torch

from attention_ops import (
    coarse_attention,
    fine_attention,
    flops,
    linear_attention,
    peak_memory,
    softmax_attention,
    use_backend,
)

COARSE = 2 * (2 * 3 * 5 * 7 * 4)  # query . key and probability . value: B M L S D multiply-adds
FINE = 2 * (2 * 3 * 5 * 4 * (2 * 4) * 4)  # B M P F (K F) D


def coarse(grad):
    query = torch.zeros(2, 3, 5, 4, requires_grad=grad)
    key = torch.zeros(2, 3, 7, 4)
    message = coarse_attention(query, key, key, topk=2).message
    if grad:
        message.sum().backward()


def fine(grad):
    query = torch.zeros(2, 3, 5, 4, 4, requires_grad=grad)
    parents = torch.arange(2, dtype=torch.int32).expand(2, 3, 5, 2)
    message = fine_attention(query, query, query, parents, topk=2).message
    if grad:
        message.sum().backward()


@pytest.mark.parametrize("backend", ["reference", "portable"])
def test_flops_of_the_sparse_ops_by_hand_whatever_the_backend(backend):
    with use_backend(backend):
        assert flops(coarse, False) == 2 * COARSE
        assert flops(fine, False) == 2 * FINE
        assert flops(coarse, True) == (2 + 5) * COARSE
        assert flops(fine, True) == (2 + 5) * FINE


def test_flops_of_full_attention_on_cpu_by_hand():
    tokens = torch.zeros(2, 5, 3, 4, requires_grad=True)
    product = 2 * (2 * 3 * 5 * 5 * 4)
    assert flops(softmax_attention, tokens, tokens, tokens) == 2 * product
    backward = lambda: softmax_attention(tokens, tokens, tokens).sum().backward()  # noqa: E731
    assert flops(backward) == (2 + 5) * product


def test_flops_of_linear_attention_by_hand():
    tokens = torch.zeros(2, 5, 3, 4)
    # summary and its use: B M S D D and B M L D D; norm: B M L D
    want = 2 * (2 * 3 * 5 * 4 * 4) * 2 + 2 * (2 * 3 * 5 * 4)
    assert flops(linear_attention, tokens, tokens, tokens) == want


def test_flops_of_a_bilinear_sample_by_hand():
    feature, grid = torch.zeros(2, 3, 4, 5, requires_grad=True), torch.zeros(2, 6, 7, 2)
    sample = lambda: torch.nn.functional.grid_sample(feature, grid, align_corners=False)  # noqa: E731
    once = 2 * 4 * (2 * 3 * 6 * 7)  # four corners for each sample and channel
    assert flops(sample) == once
    assert flops(lambda: sample().sum().backward()) == once + 2 * once


def test_peak_memory_sees_what_is_freed_inside_a_call():
    def two_buffers(size):
        first = torch.zeros(size)
        second = first + 1
        del first
        return second[:1].clone()

    peak = peak_memory(two_buffers, 1_000_000)  # 2 x 4 MB
    assert 8_000_000 <= peak < 8_100_000


def test_peak_memory_sees_buffers_inside_an_op():
    tokens = torch.zeros(1, 2, 256, 8)
    with use_backend("reference"):
        peak = peak_memory(lambda: coarse_attention(tokens, tokens, tokens, topk=0))
    assert peak >= 4 * 2 * 256 * 256  # the reference holds all logits
