"""What a training run must not lose: weights, their moving average, optimiser, step; and processes.

The state file is written under a temporary name and renamed, so that a crash leaves the last good one.
"""

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from data_scripts.untrusted import told_as

Network = TypeVar("Network", bound=nn.Module)


@dataclass
class TrainState(Generic[Network]):
    """The changing parts of a run."""

    network: Network
    average: Network  # moving average of `network`, what is validated and shipped
    optimiser: torch.optim.Optimizer
    step: int = 0
    skipped: int = 0  # steps left out because a gradient was not finite

    @classmethod
    def fresh(
        cls, network: Network, learning_rate: float, weight_decay: float
    ) -> "TrainState[Network]":
        """A run at its start; norms, biases and single numbers are not decayed."""
        decayed = [p for p in network.parameters() if p.dim() > 1]
        free = [p for p in network.parameters() if p.dim() <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": free},
        ]
        optimiser = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=0.0)
        return cls(network, copy.deepcopy(network).eval().requires_grad_(False), optimiser)

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Moves the average towards the weights; early on it follows them more closely."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        ours = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(ours[name], 1 - decay)
            else:
                value.copy_(ours[name])


def save_state(path: Path, state: TrainState[Any]) -> None:
    """Writes everything a later run needs to go on."""
    temporary = path.with_suffix(".tmp")
    torch.save(
        {
            "network": state.network.state_dict(),
            "average": state.average.state_dict(),
            "optimiser": state.optimiser.state_dict(),
            "step": state.step,
            "skipped": state.skipped,
        },
        temporary,
    )
    temporary.replace(path)


def load_state(path: Path, state: TrainState[Any]) -> bool:
    """Fills `state` from `path` if that is there; False if it is not.

    Raises:
        ValueError: the file is of another network or broken.
    """
    if not path.exists():
        return False
    try:
        with told_as(path, "a training state"):
            saved = torch.load(path, map_location="cpu", weights_only=True)
        state.network.load_state_dict(saved["network"])
        state.average.load_state_dict(saved["average"])
        state.optimiser.load_state_dict(saved["optimiser"])
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        line = str(error).splitlines()[0]
        raise ValueError(
            f"{path} must be a training state of this preset, got one that does not load ({line}); "
            "give another --out or move the file away"
        ) from error
    state.step, state.skipped = saved["step"], saved["skipped"]
    return True


def join_processes(device: str) -> tuple[int, int]:
    """Rank and number of the processes that torchrun started; (0, 1) without it."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def average_gradients(module: nn.Module, world: int) -> None:
    """Makes the gradients of all processes their mean; nothing to do for one process."""
    if world == 1:
        return
    gradients: list[Tensor] = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= world
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
