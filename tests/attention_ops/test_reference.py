import math

import pytest
import torch

from attention_ops import reference
from tests.attention_ops.op_cases import FINE_SIZES, random_inputs


def test_variant_b_by_hand():
    # One query 1, keys 0 and ln 3: probabilities 1/4 and 3/4, values 8 and 4: 2 + 3 = 5.
    query = torch.ones(1, 1, 1, 1)
    key = torch.tensor([0.0, math.log(3)]).view(1, 1, 2, 1)
    value = torch.tensor([8.0, 4.0]).view(1, 1, 2, 1)
    message, lse, index, score = reference.coarse_forward(query, key, value, None, 1, 1.0, "B")
    assert message.item() == pytest.approx(5.0)
    assert lse.item() == pytest.approx(math.log(4))
    assert index.item() == 1
    assert score.shape == (0,)


def test_variant_a_leaves_out_what_it_selects_by_hand():
    # The same, with the second key (3/4) selected: what is left is 1/4 * 8 = 2.
    query = torch.ones(1, 1, 1, 1)
    key = torch.tensor([0.0, math.log(3)]).view(1, 1, 2, 1)
    value = torch.tensor([8.0, 4.0]).view(1, 1, 2, 1)
    message, _, _, score = reference.coarse_forward(query, key, value, None, 1, 1.0, "A")
    assert message.item() == pytest.approx(2.0)
    assert score.item() == pytest.approx(0.75)


def test_variant_a_below_shares_out_each_parents_score_by_hand():
    # Parents 1 and 0 with scores 0.5 and 0.1; each has two children, logits 0 and ln 3.
    # Shares: 0.5 * (1/4, 3/4), 0.1 * (1/4, 3/4); values of parent 1: 8, 4, of parent 0: 80, 40.
    query = torch.ones(1, 1, 1, 2, 1)
    key = torch.tensor([0.0, math.log(3)]).repeat(2).view(1, 1, 2, 2, 1)
    value = torch.tensor([80.0, 40.0, 8.0, 4.0]).view(1, 1, 2, 2, 1)
    parents = torch.tensor([1, 0], dtype=torch.int32).view(1, 1, 1, 2)
    scores = torch.tensor([0.5, 0.1]).view(1, 1, 1, 2)
    message, _, index, score = reference.fine_forward(
        query, key, value, parents, scores, None, 2, 1.0, "A"
    )
    # Selected: 0.375 (token 3) and 0.125 (token 2); left 0.025 * 80 + 0.075 * 40 = 5.
    assert index[0, 0, 0].tolist() == [[2, 3], [2, 3]]
    torch.testing.assert_close(score[0, 0, 0, 0], torch.tensor([0.125, 0.375]))
    torch.testing.assert_close(message.flatten(), torch.tensor([5.0, 5.0]))


@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", FINE_SIZES)
def test_written_gradients_are_those_of_the_forward_pass(variant, masked, sizes, generator):
    inputs = random_inputs(sizes, generator, masked=masked)
    score = inputs.parent_score if variant == "A" else None
    leaves = [
        x.requires_grad_() for x in (inputs.query, inputs.key, inputs.value, score) if x is not None
    ]
    given = (inputs.query, inputs.key, inputs.value, inputs.parent_index, score, inputs.key_mask)
    outputs = reference.fine_forward(*given, inputs.topk, 0.3, variant)
    grads = [
        torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in (outputs[0], outputs[3])
    ]
    total = (outputs[0] * grads[0]).sum() + (outputs[3] * grads[1]).sum()
    want = torch.autograd.grad(total, leaves)
    with torch.no_grad():
        got = reference.fine_backward(*grads, *given, *outputs[:3], 0.3, variant)
    torch.testing.assert_close(got[: len(want)], want)
