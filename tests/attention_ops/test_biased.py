import torch

from attention_ops.biased import biased_attention, join_heads, split_heads


def naive(query, key, value, bias, mask):
    message = torch.zeros(*query.shape[:3], value.shape[3], dtype=value.dtype)
    for b, m, i in torch.cartesian_prod(*map(torch.arange, query.shape[:3])).tolist():
        shown = [j for j in range(key.shape[2]) if mask[b, j]]
        if shown:
            logit = torch.stack(
                [
                    query[b, m, i] @ key[b, m, j] / query.shape[3] ** 0.5 + bias[m, i, j]
                    for j in shown
                ]
            )
            share = logit.softmax(0)
            message[b, m, i] = sum(p * value[b, m, j] for p, j in zip(share, shown, strict=True))
    return message


def inputs(generator, grad=False):
    draw = lambda *s: torch.randn(*s, generator=generator, dtype=torch.float64)  # noqa: E731
    query, key, value, bias = draw(2, 2, 3, 4), draw(2, 2, 5, 4), draw(2, 2, 5, 3), draw(2, 3, 5)
    mask = torch.rand(2, 5, generator=generator) > 0.4
    mask[1] = False
    return [x.requires_grad_(grad) for x in (query, key, value, bias)], mask


def test_equals_the_sum_written_out_with_zeros_where_no_key_is_valid(generator):
    (query, key, value, bias), mask = inputs(generator)
    want = naive(query, key, value, bias, mask)
    hidden = ~mask[:, None, :, None]
    key, value = key.masked_fill(hidden, 1e4), value.masked_fill(hidden, -1e4)
    torch.testing.assert_close(biased_attention(query, key, value, bias, mask), want)
    assert (want[1] == 0).all()


def test_gradients_with_a_mask_and_an_empty_row_are_those_of_differences(generator):
    tensors, mask = inputs(generator, grad=True)
    assert torch.autograd.gradcheck(lambda *x: biased_attention(*x, mask), tensors)


def test_heads_are_split_as_everywhere_and_joined_again(generator):
    tokens = torch.randn(2, 5, 12, generator=generator)
    heads = split_heads(tokens, 3)
    assert heads[1, 2, 4, 1] == tokens[1, 4, 2 * 4 + 1]
    assert torch.equal(join_heads(heads), tokens)
