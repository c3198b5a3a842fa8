"""Reference numbers of official modules: inputs, weights under our names, outputs, gradients."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tests.shared_data import shared


@dataclass(frozen=True)
class Golden:
    """One file of ../shared/reference/attention."""

    arrays: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name]

    def named(self, prefix: str, names: dict[str, str]) -> dict[str, Tensor]:
        """Entries below `prefix` (state_dict, grad), the starts of their names replaced by `names`."""
        found = {}
        for key, array in self.arrays.items():
            folder, _, name = key.partition("/")
            start = next((start for start in names if name.startswith(start)), None)
            if folder == prefix and start is not None:
                found[names[start] + name[len(start) :]] = array
        return found


def load_golden(name: str) -> Golden:
    """The arrays of a file; skips the test where it is absent."""
    data = np.load(shared(f"reference/attention/{name}.npz"))
    numeric = {key: data[key] for key in data if data[key].dtype.kind != "U"}
    return Golden({key: torch.from_numpy(array) for key, array in numeric.items()})


def load_weights(module: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Fills a module strictly; a 1 x 1 convolution fits a linear layer."""
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    module.load_state_dict({name: x.reshape(shapes[name]) for name, x in weights.items()})


def assert_same_gradients(module: torch.nn.Module, wanted: dict[str, Tensor]) -> None:
    """Every parameter has the gradient that `wanted` names, and none is missing there."""
    got = {name: parameter.grad for name, parameter in module.named_parameters()}
    assert set(got) == set(wanted)
    for name, want in wanted.items():
        assert got[name] is not None, name
        assert_close_to(got[name].reshape(want.shape), want, name)


def assert_close_to(got: Tensor, want: Tensor, name: str = "") -> None:
    """Equal within 1e-5 of each value and 5e-6 of the largest (some gradients are 0 but for rounding)."""
    scale = max(want.abs().max().item(), 1)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=5e-6 * scale, msg=lambda m: f"{name} {m}")
