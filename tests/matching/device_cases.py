"""The matcher off the CPU, on the pretended device; run by tests/test_device.py."""

from typing import get_args

import pytest
import torch

from attention_ops import chunked, cuda_backend, parity, sampling_portable
from attention_ops.triton_kernels import inverse_index
from matching.coarse import match_dense, match_streaming
from matching.config import PRESETS
from matching.model import build_matcher
from matching.point_config import DecoderAttention
from matching.streaming import GPU_TILE, TILE, log_sum_exps, product_tiles, suited_tile
from tests.matching.test_coarse import random_masks, random_tokens
from tests.matching.test_streaming import by_cell, same
from tests.matching.tiny_points import tiny_point_matcher
from tests.pretend_device import DEVICE, Pretending


def moved(place, *tensors):
    return [x if x is None else x.to(place) for x in tensors]


@pytest.mark.parametrize(
    ("L", "S", "tile"), [(1, 40, None), (131, 257, (16, 32)), (64, 60, (37, 41))]
)
def test_float64_equals_the_dense_version_bit_for_bit_off_the_cpu(generator, L, S, tile):
    tokens = random_tokens(generator, L, S)
    masks = random_masks(generator, L, S)
    here = (*tokens, 0.7, *masks, None, None, 0.1)
    want = match_streaming(*here, tile=tile)
    with Pretending():
        there = (*moved(DEVICE, *tokens), 0.7, *moved(DEVICE, *masks), None, None, 0.1)
        found, dense = match_streaming(*there, tile=tile), match_dense(*there, tile=tile)
        found, dense = (type(x)(*moved("cpu", *astuple_of(x))) for x in (found, dense))
    assert same(found, dense)
    torch.testing.assert_close(by_cell(found), by_cell(want))


def astuple_of(matches):
    return tuple(vars(matches).values())


def test_the_first_pass_never_waits_for_the_device(generator):
    tokens0, tokens1 = (x[0] for x in random_tokens(generator, 120, 90, B=1))
    with Pretending() as device:
        there = moved(DEVICE, tokens0, tokens1)
        found = log_sum_exps(product_tiles(*there, (16, 32)), *there, (16, 32))
        assert not device.waits
        row, column = found.row.cpu(), found.column.cpu()
    similarity = tokens0 @ tokens1.mT
    torch.testing.assert_close((row, column), (similarity.logsumexp(1), similarity.logsumexp(0)))


def test_tiles_suit_the_device():
    assert suited_tile(torch.ones(1)) == TILE
    assert suited_tile(torch.ones(1), (3, 4)) == (3, 4)
    with Pretending():
        assert suited_tile(torch.ones(1, device=DEVICE)) == GPU_TILE


@pytest.mark.parametrize("preset", ["small"])
def test_a_whole_matcher_keeps_to_its_device(preset, generator):
    torch.manual_seed(0)
    matcher = build_matcher(PRESETS[preset]).eval()
    images = torch.rand(2, 1, 1, 64, 96, generator=generator).unbind(0)
    mask = torch.ones(1, 64, 96, dtype=torch.bool)
    mask[:, 48:] = False
    with torch.no_grad():
        want = matcher(*images, mask, None)
        with Pretending() as device:
            found = matcher.to(DEVICE)(*moved(DEVICE, *images), *moved(DEVICE, mask, None))
            assert all(x.device == DEVICE for x in vars(found).values())
            found = [x.cpu() for x in vars(found).values()]
    assert device.waits.total() < 20  # cells that are valid, or matched: a few counts per pair
    assert len(found[0]) == len(want.pair)
    torch.testing.assert_close(found[3].sort().values, want.confidence.sort().values)


@pytest.mark.parametrize("attention", get_args(DecoderAttention))
def test_points_are_found_without_waiting_for_the_device_or_sending_it_anything(
    attention, generator
):
    points = tiny_point_matcher(attention=attention)
    images = torch.rand(2, 1, 1, 64, 96, generator=generator).unbind(0)
    mask = torch.ones(1, 64, 96, dtype=torch.bool)
    mask[:, 48:] = False
    asked = torch.rand(1, 7, 2, generator=generator) * 40
    want = points(*images, asked, mask, None)
    with Pretending() as device:
        there = moved(DEVICE, *images, asked, mask, None)
        points.to(DEVICE)
        device.uploads.clear()
        found = points(*there)
        assert not device.waits
        assert not device.uploads
        found = [x.cpu() for x in vars(found).values()]
    torch.testing.assert_close(found, [want.points1, want.confidence], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("case", parity.QUICK_CASES[1::4], ids=str)
def test_portable_ops_keep_to_their_device(case, generator):
    tensors = parity.random_tensors(case, generator).to("cpu", torch.float32)
    settings = (case.channels**-0.5, case.variant)
    query, key, value = tensors.query, tensors.key, tensors.value
    inputs = (query, key, value, tensors.parent_index, tensors.parent_score, tensors.key_mask)
    forward, backward = chunked.fine_forward, chunked.fine_backward
    if tensors.parent_index is None:
        inputs = (query, key, value, tensors.key_mask)
        forward, backward = chunked.coarse_forward, chunked.coarse_backward
    want = forward(*inputs, case.topk, *settings)
    grads = (tensors.grad_message, want[3] if tensors.grad_score is None else tensors.grad_score)
    want_back = backward(*grads, *inputs, *want[:3], *settings)
    with Pretending() as device:
        there = moved(DEVICE, *inputs)
        found = forward(*there, case.topk, *settings)
        device.waits.clear()  # it asks for ties in each tile
        found_back = backward(*moved(DEVICE, *grads), *there, *found[:3], *settings)
        assert not device.waits
        found, found_back = moved("cpu", *found), moved("cpu", *found_back)
    torch.testing.assert_close((*found, *found_back), (*want, *want_back), equal_nan=True)


@pytest.mark.parametrize("invert", [inverse_index.invert, cuda_backend.inverse_index])
def test_a_fixed_order_is_found_without_waiting_for_the_device(invert, generator):
    parents = torch.randint(-1, 9, (2, 3, 7, 4), generator=generator, dtype=torch.int32)
    want = invert(parents, 9)
    with Pretending() as device:
        there = parents.to(DEVICE)
        device.uploads.clear()
        found = invert(there, 9)
        assert not device.waits
        assert not device.uploads
        found = moved("cpu", *found)
    torch.testing.assert_close(tuple(found), tuple(want), rtol=0, atol=0)


def test_portable_sampling_keeps_to_its_device(generator):
    value, grad = torch.rand(2, 23, 2, 5, generator=generator), torch.rand(2, 3, 2, 5)
    location = torch.rand(2, 3, 2, 2, 4, 2, generator=generator)
    weight = torch.rand(2, 3, 2, 2, 4, generator=generator)
    sizes = [(3, 5), (2, 4)]
    want = sampling_portable.backward(grad, value, sizes, location, weight)
    with Pretending():
        there, grad = moved(DEVICE, value, location, weight), grad.to(DEVICE)
        sampling_portable.forward(there[0], sizes, *there[1:])
        found = sampling_portable.backward(grad, there[0], sizes, *there[1:])
        found = moved("cpu", *found)
    torch.testing.assert_close(tuple(found), want)


def test_the_pretended_device_refuses_what_a_gpu_refuses():
    with Pretending() as device:
        there = torch.ones(3, device=DEVICE)
        with pytest.raises(RuntimeError, match=r"got tensors \[\(3,\)\] of the CPU"):
            there + torch.ones(3)
        assert float(there.sum() + torch.tensor(1.0)) == 4
        assert device.waits == {"_local_scalar_dense": 1}
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        assert not device.uploads
        torch.ones(2).to(DEVICE)
        assert device.uploads == {"_to_copy": 1}
