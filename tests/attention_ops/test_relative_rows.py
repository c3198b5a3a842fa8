import math

import pytest
import torch
from torch import nn

from attention_ops.relative_rows import (
    RelativeRowAttention,
    distance_sines,
    logit_bytes,
    relative_logits,
    row_chunks,
)

SIZES = [(1, 1), (1, 4), (5, 1), (7, 5), (6, 6), (3, 11)]  # columns that ask and that answer


def random_inputs(generator, L, S, R=3, M=2, D=4):
    shapes = [(R, L, M, D), (R, S, M, D), (L + S - 1, M, D), (L + S - 1, M, D)]
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


def logits_pair_by_pair(query, key, query_table, key_table):
    """The definition, with the encoding of every pair laid out."""
    L, S, D = query.shape[1], key.shape[1], query.shape[3]
    index = (L - 1 - torch.arange(L))[:, None] + torch.arange(S)
    content = torch.einsum("rimd,rjmd->mrij", query, key)
    by_query = torch.einsum("rimd,ijmd->mrij", query, key_table[index])
    by_key = torch.einsum("rjmd,ijmd->mrij", key, query_table[index])
    return (content + by_query + by_key) / D**0.5


# --- logits


@pytest.mark.parametrize(("L", "S"), SIZES)
def test_logits_and_gradients_equal_those_with_every_encoding_laid_out(generator, L, S):
    inputs = random_inputs(generator, L, S)
    weight = torch.randn(2, 3, L, S, generator=generator, dtype=torch.float64)
    results = []
    for function in (relative_logits, logits_pair_by_pair):
        leaves = [x.clone().requires_grad_() for x in inputs]
        logits = function(*leaves)
        results.append([logits, *torch.autograd.grad((logits * weight).sum(), leaves)])
    torch.testing.assert_close(*results)


def test_logits_by_hand():
    # One head of one channel, two columns; distances 1, 0, -1. For i = 1, j = 0 the table row is
    # (2 - 1 - 1) + 0 = 0: 3 * 5 + 3 * 100 + 5 * 10 = 365.
    query, key = torch.tensor([2.0, 3.0]), torch.tensor([5.0, 7.0])
    query_table, key_table = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([100.0, 200.0, 300.0])
    shaped = [x[None, :, None, None] for x in (query, key)]
    shaped += [x[:, None, None] for x in (query_table, key_table)]
    want = [[10 + 400 + 100, 14 + 600 + 210], [365, 21 + 600 + 140]]
    assert relative_logits(*shaped)[0, 0].tolist() == want


def test_gradients_pass_gradcheck(generator):
    leaves = [x.requires_grad_() for x in random_inputs(generator, 3, 2, R=2, D=2)]
    assert torch.autograd.gradcheck(relative_logits, leaves)


def test_causal_logits_hide_what_lies_further_right_and_nothing_else(generator):
    inputs = random_inputs(generator, 5, 5)
    logits, causal = relative_logits(*inputs), relative_logits(*inputs, causal=True)
    further = torch.arange(5) > torch.arange(5)[:, None]
    assert (causal[..., further] == -torch.inf).all()
    assert torch.equal(causal[..., ~further], logits[..., ~further])


def test_a_mirrored_row_with_the_table_flipped_gives_mirrored_logits(generator):
    query, key, query_table, key_table = random_inputs(generator, 6, 4)
    mirrored = relative_logits(query.flip(1), key.flip(1), query_table.flip(0), key_table.flip(0))
    logits = relative_logits(query, key, query_table, key_table)
    torch.testing.assert_close(mirrored.flip(2, 3), logits)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: [*x[:2], x[2][1:], x[3]], r"query_table must be \(P, M, D\) with P=8"),
        (lambda x: [*x[:3], x[3].float()], "key_table must be torch.float64"),
        (lambda x: [x[0], x[1][:1], *x[2:]], r"key must be \(R, S, M, D\) with R=3"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(generator, change, words):
    with pytest.raises((ValueError, TypeError), match=words):
        relative_logits(*change(random_inputs(generator, 4, 5)))


# --- table of distances


def test_distances_by_hand():
    table = distance_sines(3, 2, 4, spacing=0.5)  # distances 2, 1, 0, -1 in steps of 0.5
    assert table.shape == (4, 4)
    want = [math.sin(1.0), math.cos(1.0), math.sin(1.0 / 100), math.cos(1.0 / 100)]
    torch.testing.assert_close(table[0], torch.tensor(want))
    assert table[2].tolist() == [0, 1, 0, 1]
    torch.testing.assert_close(table[3], table[1] * torch.tensor([-1.0, 1.0, -1.0, 1.0]))


def test_an_odd_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="channels must be even, got 5"):
        distance_sines(3, 3, 5)


# --- attention


def random_attention(channels=8, heads=2, **settings):
    torch.manual_seed(0)
    return RelativeRowAttention(channels, heads, **settings).double()


def random_rows(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_without_positions_and_biases_it_is_multi_head_attention(generator):
    attention = random_attention()
    attention.qkv.bias.data.zero_()
    plain = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    weights = attention.state_dict()
    plain.load_state_dict(
        {
            "in_proj_weight": weights["qkv.weight"],
            "in_proj_bias": weights["qkv.bias"],
            "out_proj.weight": weights["out.weight"],
            "out_proj.bias": weights["out.bias"],
        }
    )
    tokens, source = random_rows(generator, 3, 5, 8), random_rows(generator, 3, 4, 8)
    got = attention(tokens, source, torch.zeros(8, 8, dtype=torch.float64))
    torch.testing.assert_close(got, plain(tokens, source, source)[0])


def test_the_message_is_the_softmax_of_the_logits_times_the_values(generator):
    attention = random_attention()
    tokens, source = random_rows(generator, 3, 5, 8), random_rows(generator, 3, 4, 8)
    table = random_rows(generator, 8, 8)
    query, key, value = (
        attention.qkv(torch.cat([tokens, source], 1)).unflatten(-1, (3, 2, 4)).unbind(2)
    )
    query_table, key_table, _ = attention.qkv(table).unflatten(-1, (3, 2, 4)).unbind(1)
    logits = logits_pair_by_pair(query[:, :5], key[:, 5:], query_table, key_table)
    message = torch.einsum("mrij,rjmd->rimd", logits.softmax(-1), value[:, 5:]).flatten(2)
    torch.testing.assert_close(attention(tokens, source, table), attention.out(message))
    torch.testing.assert_close(attention.logits(tokens, source, table), logits.sum(0))


def test_chunks_of_rows_give_what_all_rows_give_with_gradients(generator):
    tokens, source = random_rows(generator, 7, 5, 8), random_rows(generator, 7, 4, 8)
    table = random_rows(generator, 8, 8)
    results = []
    for max_memory in (0, 3 * logit_bytes(5, 4, 2, torch.float64), 2**30):
        attention = random_attention(max_memory=max_memory)
        message = attention(tokens, source, table)
        gradients = torch.autograd.grad(message.square().sum(), list(attention.parameters()))
        results.append((len(attention.chunks(tokens, source)), message, *gradients))
    assert [result[0] for result in results] == [7, 3, 1]
    torch.testing.assert_close(results[0][1:], results[2][1:])
    torch.testing.assert_close(results[1][1:], results[2][1:])


def test_rows_know_nothing_of_each_other(generator):
    attention, table = random_attention(), random_rows(generator, 9, 8)
    tokens = random_rows(generator, 3, 5, 8)
    other = tokens.clone()
    other[1] = torch.nan
    message = attention(other, other, table)
    torch.testing.assert_close(message[::2], attention(tokens, tokens, table)[::2])


@pytest.mark.parametrize(
    ("rows", "row_bytes", "max_memory", "sizes"),
    [(5, 10, 20, [2, 2, 1]), (4, 10, 100, [4]), (2, 10, 0, [1, 1]), (0, 10, 20, [])],
)
def test_chunks_cover_all_rows_in_turn(rows, row_bytes, max_memory, sizes):
    chunks = row_chunks(rows, row_bytes, max_memory)
    assert [len(range(rows)[chunk]) for chunk in chunks] == sizes
    assert [row for chunk in chunks for row in range(rows)[chunk]] == list(range(rows))


def test_channels_that_do_not_divide_into_heads_are_refused():
    with pytest.raises(ValueError, match=r"channels \(9\) must divide into heads \(2\)"):
        RelativeRowAttention(9, 2)
