"""Cases for the CUDA kernels, and a comparison with the reference that any device can run."""

import torch

from attention_ops import reference
from tests.attention_ops.op_cases import random_inputs

# (B, M, P, F, R, D, K, topk): ones, primes, Nq != Nk, both fan-outs in every width, odd K, more
# parents than a warp has lanes, top-K of none, of everything and past the tokens
SIZES = [
    (1, 1, 1, 4, 1, 16, 1, 1),
    (2, 3, 5, 4, 7, 32, 3, 5),
    (1, 2, 13, 2, 11, 64, 5, 4),
    (2, 1, 3, 4, 2, 128, 2, 99),
    (1, 2, 9, 4, 19, 32, 6, 0),
    (1, 1, 7, 4, 80, 32, 64, 33),
    (1, 1, 6, 2, 70, 16, 33, 17),
    (1, 1, 3, 4, 60, 64, 50, 40),
    (1, 1, 3, 2, 9, 128, 7, 3),
]


def exact_inputs(sizes, generator, masked):
    """float64 inputs whose logits are exact in every dtype, so that all see the same ties, and many
    of them."""
    inputs = random_inputs(sizes, generator, masked=masked)
    for tensor in (inputs.query, inputs.key):
        tensor.copy_(tensor.round().clamp(-2, 2))  # NaN stays NaN
    return inputs


def run_fine(module, inputs, variant, ordered=True):
    """Outputs of a fine level and its gradients from given ones, by name."""
    tensors = (inputs.query, inputs.key, inputs.value, inputs.parent_index)
    score = inputs.parent_score if variant == "A" else None
    tensors = (*tensors, score, inputs.key_mask)
    return _run(module.fine_forward, module.fine_backward, tensors, inputs.topk, variant, ordered)


def run_coarse(module, inputs, variant, ordered=True):
    """The same of a coarse level on the tokens of `inputs`."""
    mask = None if inputs.key_mask is None else inputs.key_mask.flatten(1)
    tokens = [x.flatten(2, 3) for x in (inputs.query, inputs.key, inputs.value)]
    level = (module.coarse_forward, module.coarse_backward)
    return _run(*level, (*tokens, mask), inputs.topk, variant, ordered)


def _run(forward, backward, tensors, topk, variant, ordered):
    scale = tensors[0].shape[-1] ** -0.5
    message, lse, index, score = forward(*tensors, topk, scale, variant)
    generator = torch.Generator().manual_seed(1)
    grad_message, grad_score = (
        torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
        for x in (message, score)
    )
    torch.use_deterministic_algorithms(ordered)
    grads = backward(grad_message, grad_score, *tensors, message, lse, index, scale, variant)
    torch.use_deterministic_algorithms(True)
    names = ("query", "key", "value", "parent_score")
    named = {f"grad_{name}": grad for name, grad in zip(names, grads, strict=False)}
    return {"message": message, "lse": lse, "index": index, "score": score} | named


def assert_near_reference(run, module, inputs, variant, ordered=True, device="cpu"):
    """float32 on `device` gives the sets, values and gradients of the reference in float64."""
    got = run(module, moved(inputs.to(torch.float32), device), variant, ordered)
    want = run(reference, inputs, variant)
    for name, tensor in want.items():
        torch.testing.assert_close(
            got[name].cpu().to(tensor.dtype),
            tensor,
            rtol=2e-4,
            atol=2e-5,
            msg=lambda m, n=name: n + m,
        )


def assert_half_near_reference(run, module, inputs, variant, dtype, ordered=True, device="cpu"):
    """A half type is no further from float64 than twice what the reference loses by it."""
    inputs = inputs.to(dtype)
    exact = run(reference, inputs.to(torch.float64), variant)
    allowed = errors(run(reference, inputs, variant), exact)
    for name, error in errors(run(module, moved(inputs, device), variant, ordered), exact).items():
        assert error <= 2 * allowed[name] + 1e-3, name


def errors(got, want):
    return {name: _distance(got[name].cpu().double(), want[name].double()) for name in want}


def _distance(a, b):
    return (a - b).where(a != b, 0).norm().item()  # -inf is as far from -inf as 1 from 1


def moved(inputs, device):
    """The inputs on a device."""
    fields = {name: getattr(inputs, name) for name in inputs.__dataclass_fields__}
    return type(inputs)(
        **{name: x.to(device) if isinstance(x, torch.Tensor) else x for name, x in fields.items()}
    )
