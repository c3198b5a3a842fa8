"""Under autocast an op takes its inputs in autocast's dtype, and inside it autocast is off."""

import pytest
import torch

from attention_ops import coarse_attention, fine_attention, use_backend
from attention_ops.backends import backends
from attention_ops.sampling import sample_weighted
from tests.attention_ops.cuda_cases import moved
from tests.attention_ops.cuda_emulation import once
from tests.attention_ops.op_cases import random_inputs
from tests.attention_ops.test_sampling import SIZES, inputs

pytestmark = once
CASE = (1, 2, 6, 4, 9, 16, 5, 3)  # B, M, P, F, R, D, K, topk
READY = [name for name in ("reference", "portable", "native") if backends()[name] == "ready"]


def messages_and_gradients(level, variant, dtype, generator, *, autocast, device="cpu"):
    """Message, scores and the gradients of all inputs, all in one autocast or without it."""
    inputs = moved(random_inputs(CASE, generator, torch.float32), device)
    leaves = [inputs.query, inputs.key, inputs.value]
    if level == "coarse":
        leaves = [x.flatten(2, 3) for x in leaves]
    leaves = [(x if autocast else x.to(dtype)).requires_grad_() for x in leaves]
    with torch.autocast(device, dtype, enabled=autocast):
        if level == "coarse":
            result = coarse_attention(*leaves, topk=3, variant=variant)
        else:
            score = inputs.parent_score if variant == "A" else None
            result = fine_attention(
                *leaves, inputs.parent_index, parent_score=score, topk=3, variant=variant
            )
        loss = result.message.float().square().sum() + result.score.sum()
        grads = torch.autograd.grad(loss, leaves)
    return result, grads


def assert_autocast_is_a_cast_of_the_inputs(level, variant, dtype, generator, device):
    """Outputs and gradients under autocast equal those of inputs that were cast, to the bit."""
    state = generator.get_state()
    arguments = (level, variant, dtype, generator)
    want, want_grads = messages_and_gradients(*arguments, autocast=False, device=device)
    generator.set_state(state)
    found, grads = messages_and_gradients(*arguments, autocast=True, device=device)
    assert torch.equal(found.index, want.index)
    assert torch.equal(found.message, want.message)
    assert torch.equal(found.score, want.score)
    for grad, want_grad in zip(grads, want_grads, strict=True):
        assert grad.dtype == torch.float32
        assert torch.equal(grad, want_grad.float())


@pytest.mark.parametrize("backend", READY)
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("level", ["coarse", "fine"])
def test_forward_and_backward_equal_those_of_inputs_that_were_cast(
    level, variant, backend, generator
):
    with use_backend(backend):
        assert_autocast_is_a_cast_of_the_inputs(level, variant, torch.bfloat16, generator, "cpu")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("backend", ["triton", "cuda"])
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("level", ["coarse", "fine"])
def test_the_same_on_a_device(level, variant, backend, generator):
    if backends()[backend] != "ready":
        pytest.skip(f"backend {backend}: {backends()[backend]}")
    with use_backend(backend):
        assert_autocast_is_a_cast_of_the_inputs(level, variant, torch.float16, generator, "cuda")


def sampled(dtype, generator, *, autocast):
    """Messages of the sampling op and all gradients."""
    value, location, weight = (x.float() for x in inputs(generator, D=4, K=3, Q=5))
    value = (value if autocast else value.to(dtype)).requires_grad_()
    location, weight = location.requires_grad_(), weight.requires_grad_()
    with torch.autocast("cpu", dtype, enabled=autocast):
        given = value.to(dtype) if autocast else value
        message = sample_weighted(given, SIZES, location, weight)
        leaves = (value, location, weight)
        return message, torch.autograd.grad(message.float().square().sum(), leaves)


@pytest.mark.parametrize("backend", READY)
def test_sampling_computes_the_same_inside_autocast(backend, generator):
    state = generator.get_state()
    with use_backend(backend):
        want, want_grads = sampled(torch.bfloat16, generator, autocast=False)
        generator.set_state(state)
        found, grads = sampled(torch.bfloat16, generator, autocast=True)
    assert torch.equal(found, want)
    for grad, want_grad in zip(grads, want_grads, strict=True):
        assert torch.equal(grad, want_grad.float())
