import pytest
import torch

from attention_ops import build_attention, use_backend
from attention_ops import nearest as nearest_file
from attention_ops.nearest import nearest_keys


def naive_keys(query, key, topk, mask):
    """Sorted by score, then by number; exact in float64 for whole numbers."""
    rows = []
    for b, m, i in torch.cartesian_prod(*map(torch.arange, query.shape[:3])).tolist():
        score = (key[b, m] @ query[b, m, i]).tolist()
        order = sorted((-s, j) for j, s in enumerate(score) if mask is None or mask[b, j])
        best = sorted(j for _, j in order[:topk])
        rows.append(best + [-1] * (min(topk, key.shape[2]) - len(best)))
    return rows


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("topk", [1, 3, 7, 50])
def test_the_best_keys_are_chosen_and_the_lower_number_wins_a_tie(topk, masked, generator):
    draw = lambda *s: torch.randint(-1, 2, s, generator=generator).double()  # noqa: E731
    query, key = draw(2, 2, 6, 2), draw(2, 2, 13, 2)
    mask = torch.rand(2, 13, generator=generator) > 0.5 if masked else None
    if mask is not None:
        mask[1] = False
    index = nearest_keys(query, key, topk, mask)
    got = [
        sorted(r for r in row if r >= 0) + [r for r in row if r < 0]
        for row in index.flatten(0, 2).tolist()
    ]
    assert got == naive_keys(query, key, topk, mask)


def test_tiles_of_scores_do_not_matter(generator, monkeypatch):
    query, key = (torch.randn(1, 2, n, 4, generator=generator) for n in (11, 9))
    want = nearest_keys(query, key, 4)
    monkeypatch.setattr(nearest_file, "SCORE_ELEMENTS", 60)
    assert torch.equal(nearest_keys(query, key, 4), want)


@pytest.mark.parametrize("backend", ["reference", "portable"])
def test_message_equals_softmax_with_the_other_logits_at_minus_infinity(backend, generator):
    torch.manual_seed(0)
    module = build_attention("nearest", 8, 2, "cross", topk=5).double()
    query, source = (
        torch.randn(2, 8, *s, generator=generator, dtype=torch.float64).requires_grad_()
        for s in ((3, 4), (5, 3))
    )
    mask = torch.rand(2, 5, 3, generator=generator) > 0.3
    mask[1] = False
    mask[1, 0, 1] = mask[1, 4, 2] = True  # fewer than K
    with use_backend(backend):
        message = module(query, source, None, mask)
        grads = torch.autograd.grad(message.sin().sum(), (query, source))
    q, k, v = (
        layer(x.flatten(2).mT).unflatten(2, (2, -1)).transpose(1, 2)
        for layer, x in ((module.query, query), (module.key, source), (module.value, source))
    )
    logits = (q @ k.mT / 2).masked_fill(~mask.flatten(1)[:, None, None], -torch.inf)
    floor = logits.sort(-1, descending=True).values[..., 4:5]
    share = logits.masked_fill(logits < floor, -torch.inf).softmax(-1)
    want = module.out((share @ v).transpose(1, 2).flatten(2)).mT.unflatten(2, (3, 4))
    torch.testing.assert_close(message, want)
    torch.testing.assert_close(grads, torch.autograd.grad(want.sin().sum(), (query, source)))


def test_all_keys_give_full_attention(generator):
    torch.manual_seed(0)
    module = build_attention("nearest", 8, 2, "self", topk=99)
    full = build_attention("softmax", 8, 2, "self")
    full.load_state_dict(module.state_dict())
    feature = torch.randn(1, 8, 4, 5, generator=generator)
    torch.testing.assert_close(module(feature, feature), full(feature, feature))


def test_topk_below_one_is_refused():
    with pytest.raises(ValueError, match="topk must be 1 or more, got 0"):
        build_attention("nearest", 8, 2, "self", topk=0)
