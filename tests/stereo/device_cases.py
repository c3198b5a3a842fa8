"""A stereo network off the CPU, on the pretended device; run by tests/test_device.py."""

import pytest
import torch

from stereo.config import PRESETS
from stereo.model import build_stereo
from tests.pretend_device import DEVICE, Pretending


@pytest.mark.parametrize("preset", ["small"])
def test_a_whole_network_keeps_to_its_device_and_never_waits_for_it(preset, generator):
    torch.manual_seed(0)
    network = build_stereo(PRESETS[preset]).eval()
    left, right = torch.rand(2, 1, 3, 64, 128, generator=generator).unbind(0)
    with torch.no_grad():
        want = vars(network(left, right))
        with Pretending() as device:
            found = vars(network.to(DEVICE)(left.to(DEVICE), right.to(DEVICE)))
            tensors = {name: x for name, x in found.items() if isinstance(x, torch.Tensor)}
            assert all(x.device == DEVICE for x in tensors.values())
            tensors = {name: x.cpu() for name, x in tensors.items()}
    assert not device.waits
    torch.testing.assert_close(tensors, {name: want[name] for name in tensors})
